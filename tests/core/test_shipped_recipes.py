"""The paper's recipes, end to end on a tiny random model of each one's family, with data in the hub's schema."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, MistralConfig, MixtralConfig

from unlearnbench.compare import execute, read_leaderboard
from unlearnbench.preflight import prepare
from unlearnbench.recipe import Recipe, Topic, load_recipe

SHAPE = {
    "vocab_size": 2048,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}
FAMILIES = {
    "wmdp-zephyr-7b": (MistralConfig, {}),
    "wmdp-yi-34b": (LlamaConfig, {}),
    "wmdp-mixtral-8x7b": (MixtralConfig, {"num_local_experts": 4}),
}


class Silent:
    """A reporter that says nothing."""

    def __getattr__(self, name: str):
        return lambda *_: None


def shrink(recipe: Recipe, model: Path) -> Recipe:
    """The same recipe on a tiny model, with the sandbox's data in place of the hub's, and a few updates."""
    corpora = {"bio": "bio-forget", "cyber": "cyber-forget"}
    topics = {
        name: Topic(**{**topic.model_dump(), "forget": f"sandbox:corpora:{corpora[name]}", "retain": "sandbox:corpora:retain"})
        for name, topic in recipe.topics.items()
    }
    methods = {name: dict(options) for name, options in recipe.methods.items()}
    for options in methods.values():
        options["steps"] = 4
    methods["rmu"]["layer"] = 3
    if "parameters" in methods["rmu"]:
        methods["rmu"]["parameters"] = methods["rmu"]["parameters"].replace("14336", "24")
    benchmarks = {name: {**options, "source": f"sandbox:{name}"} for name, options in recipe.benchmarks.items()}
    benchmarks["mt_bench"] |= {"judge": "rules", "max_new_tokens": 4}
    changes = {
        "model": str(model),
        "dtype": "float32",
        "limit": 2,
        "topics": topics,
        "methods": methods,
        "benchmarks": benchmarks,
    }
    return recipe.model_copy(update=changes)


@pytest.mark.parametrize("name", FAMILIES)
def test_runs_end_to_end(name, tmp_path, tokenizer):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config, extra = FAMILIES[name]
    AutoModelForCausalLM.from_config(config(**SHAPE, **extra)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    recipe = shrink(load_recipe(name), tmp_path / "model")
    comparison = prepare(recipe, out=tmp_path / "run", cache=tmp_path / "cache")
    for result in execute(comparison, Silent()):
        assert result.status == "done", result.error
    board = read_leaderboard(tmp_path / "run")
    assert [row.variant for row in board.rows if row.variant != "none"]
    assert {row.variant for row in board.rows} == {"none", *recipe.methods}
    assert [column.title for column in board.columns] == ["wmdp/bio", "wmdp/cyber", "wmdp/chem", "mmlu", "mt_bench"]


def test_only_expert_0s_up_projection_moves(tmp_path, tokenizer):
    """Mixtral's fused experts: gradients outside the slice are zero, and the rest of the tensor stays bit for bit."""
    from streams import prepare as start
    from streams import train
    from transformers import AutoModelForCausalLM

    from unlearnbench_methods.rmu import RMU

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MixtralConfig(**SHAPE, num_local_experts=4)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pattern = r"mlp\.experts\.gate_up_proj[0, 24:]"
    train(start(RMU(model, layer=3, parameters=pattern, coefficient=50.0, alpha=1.0, lr=1e-2), tokenizer), 4)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.experts.gate_up_proj" for block in (1, 2, 3)}
    for name in changed:
        moved = model.state_dict()[name] != before[name]
        assert moved[0, 24:].any()
        assert not moved[1:].any()
        assert not moved[0, :24].any()


def test_slices_that_do_not_fit(tiny_model):
    from unlearnbench.errors import UsageError
    from unlearnbench_methods.rmu import RMU

    with pytest.raises(UsageError, match=r"has the shape \(32, 48\); there is nothing at the given slice"):
        RMU(tiny_model, layer=3, parameters=r"down_proj\.weight[40:]")
    with pytest.raises(UsageError, match="cannot decay a slice"):
        RMU(tiny_model, layer=3, parameters=r"down_proj\.weight[0:4]", weight_decay=0.1)
