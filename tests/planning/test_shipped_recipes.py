"""The paper's recipes: its settings, and end to end on tiny random models of their families with data laid out as the hub's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import LlamaConfig, MistralConfig, MixtralConfig

from unlearnbench.data.batches import encode_corpus
from unlearnbench.data.tables import Table, read_table
from unlearnbench.data.topics import TopicData
from unlearnbench.execution.compare import execute
from unlearnbench.execution.reporter import Silent
from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request
from unlearnbench.plugins.options import resolve_options, split_budget
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.recipe import Recipe, Topic

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
# Li et al. 2024 and its notebooks: block, c, alpha, updates, batch, shortest text in characters
PAPER = {
    "wmdp-zephyr-7b": ("HuggingFaceH4/zephyr-7b-beta", 7, 6.5, 1200, 150, 4, 0),
    "wmdp-yi-34b": ("01-ai/Yi-34B-Chat", 15, 300, 350, 400, 2, 0),
    "wmdp-mixtral-8x7b": ("mistralai/Mixtral-8x7B-Instruct-v0.1", 7, 300, 1600, 400, 2, 200),
}


@pytest.mark.parametrize("name", PAPER)
def test_settings_are_the_papers(name):
    """One by one, defaults included: nothing here may change with a default somewhere else."""
    recipe = load_recipe(name)
    model, layer, coefficient, alpha, steps, batch_size, min_chars = PAPER[name]
    rmu = resolve_options(find_plugin("method", "rmu").spec, recipe.methods["rmu"], "rmu")
    assert (recipe.model, recipe.dtype) == (model, "bfloat16")
    assert (rmu["layer"], rmu["layers"], rmu["coefficient"], rmu["alpha"]) == (layer, None, coefficient, alpha)
    assert (rmu["steps"], rmu["batch_size"], rmu["lr"], rmu["eps"], rmu["weight_decay"]) == (steps, batch_size, 5e-5, 1e-6, 0)
    assert (rmu["order"], rmu["masked"], rmu["vector"]) == ("file", False, "uniform")
    bio, cyber = recipe.topics["bio"], recipe.topics["cyber"]
    assert list(recipe.topics) == ["bio", "cyber"]
    assert (bio.forget, cyber.forget) == ("cais/wmdp-bio-forget-corpus", "cais/wmdp-corpora:cyber-forget-corpus")
    for topic in (bio, cyber):
        assert topic.retain == "Salesforce/wikitext:wikitext-2-raw-v1#test"
        assert topic.min_chars == min_chars
    assert recipe.benchmarks == {
        "wmdp": {"newlines": 1}, "mmlu": {"newlines": 1}, "mt_bench": {"judge": "openai:gpt-4-0613"}
    }  # fmt: skip
    assert resolve_options(find_plugin("benchmark", "mmlu").spec, recipe.benchmarks["mmlu"], "mmlu")["shots"] == 0


def test_baselines_of_the_paper_are_lora_on_short_texts():
    """Only on Zephyr-7B: LLMU and SCRUB with an adapter, batches of 2, SCRUB's 600 updates with 300 of forgetting."""
    recipe = load_recipe("wmdp-zephyr-7b")
    assert list(recipe.methods) == ["rmu", "llmu", "scrub", "ssd"]
    for name in ("llmu", "scrub"):
        options = resolve_options(find_plugin("method", name).spec, recipe.methods[name], name)
        assert (options["adapter"], options["batch_size"], options["max_chars"]) == ("lora", 2, 200)
    assert (options["steps"], options["forget_steps"], options["lr"]) == (600, 300, 1e-5)
    for name in ("wmdp-yi-34b", "wmdp-mixtral-8x7b"):
        assert list(load_recipe(name).methods) == ["rmu"]


@pytest.mark.parametrize("name", PAPER)
def test_lengths_are_the_papers(name, tokenizer):
    """RMU: 512 tokens of a bio text, 768 of a cyber text, 512 of either retain text; the baselines: 200 characters.

    A topic cuts its corpora, and never lengthens what a method's budget allows.
    """
    recipe = load_recipe(name)
    words = " ".join(f"word{number}" for number in range(2000))
    table = Table([{"text": words}], "long", lambda index: "long")
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for method, options in recipe.methods.items():
        plugin = find_plugin("method", method)
        training = split_budget(plugin.spec, resolve_options(plugin.spec, options, method))[1]
        for topic_name, topic in recipe.topics.items():
            cuts = {"max_length": topic.max_length, "retain_max_length": topic.retain_max_length}
            data = TopicData(name=topic_name, forget=table, retain=table, min_chars=topic.min_chars, **cuts)
            lengths = [
                len(
                    encode_corpus(table, topic_name, tokenizer, max_length=longest, max_chars=training.max_chars)
                    .examples[0]
                    .ids
                )
                for longest in (data.longest("forget", training.max_length), data.longest("retain", training.max_length))
            ]
            found.setdefault(method, {})[topic_name] = (lengths[0], lengths[1])
    assert found["rmu"] == {"bio": (512, 512), "cyber": (768, 512)}
    short = len(tokenizer(words[:200])["input_ids"])
    assert 50 <= short <= 200
    for method in found.keys() & {"llmu", "scrub"}:
        assert found[method] == {"bio": (short, short), "cyber": (short, short)}
    if "ssd" in found:
        assert found["ssd"] == {"bio": (512, 512), "cyber": (512, 512)}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hub's data sets as folders of the same layout, configs, splits and columns, with the sandbox's content."""
    root = tmp_path_factory.mktemp("hub")

    def write(path: str, rows: list[dict[str, Any]]) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / path)

    def declare(dataset: str, **files: dict[str, str]) -> None:
        lines = ["---", "configs:"]
        for config, splits in files.items():
            lines += [f"- config_name: {config}", "  data_files:"]
            lines += [line for split, path in splits.items() for line in (f"  - split: {split}", f"    path: {path}")]
        (root / dataset / "README.md").write_text("\n".join([*lines, "---", "A data set.\n"]))

    for part in ("bio", "chem", "cyber"):
        write(f"cais/wmdp/wmdp-{part}/test-00000-of-00001.parquet", read_table(f"sandbox:wmdp:wmdp-{part}#test").rows)
    declare("cais/wmdp", **{f"wmdp-{part}": {"test": f"wmdp-{part}/test-*"} for part in ("bio", "chem", "cyber")})
    subjects = {s: read_table(f"sandbox:mmlu:{s}#test").rows for s in ("astronomy", "virology")}
    for name, rows in {**subjects, "all": [row for own in subjects.values() for row in own]}.items():
        for split in ("test", "validation", "dev"):
            write(f"cais/mmlu/{name}/{split}-00000-of-00001.parquet", rows[:20])
    write("cais/mmlu/auxiliary_train/train-00000-of-00001.parquet", [{"train": subjects["virology"][0]}])
    bio = [{"title": "t", "abstract": "a", "doi": "d", **row} for row in read_table("sandbox:corpora:bio-forget").rows]
    write("cais/wmdp-bio-forget-corpus/data/train-00000-of-00001.parquet", bio)
    for config in ("cyber-forget-corpus", "cyber-retain-corpus", "bio-retain-corpus"):
        source = "cyber-forget" if "forget" in config else "retain"
        write(f"cais/wmdp-corpora/{config}/train-00000-of-00001.parquet", read_table(f"sandbox:corpora:{source}").rows)
    retain = read_table("sandbox:corpora:retain").rows
    lines = [{"text": text} for row in retain for text in ("", " = Heading = \n", row["text"])]  # as Wikitext has them
    for config, split in itertools.product(("wikitext-103-raw-v1", "wikitext-2-raw-v1"), ("test", "train", "validation")):
        write(f"Salesforce/wikitext/{config}/{split}-00000-of-00001.parquet", lines)
    talks = [
        {"category": row["category"], "prompt": row["turns"], "reference": row["reference"], "prompt_id": row["question_id"]}
        for row in read_table("sandbox:mt_bench#train").rows
    ]
    write("HuggingFaceH4/mt_bench_prompts/data/train-00000-of-00001.parquet", talks)
    return root


def shrink(recipe: Recipe, model: Path, hub: Path) -> Recipe:
    """The same recipe on a tiny model and a few updates; every source keeps its config and split."""
    topics = {
        name: Topic(**{**topic.model_dump(), "forget": f"{hub}/{topic.forget}", "retain": f"{hub}/{topic.retain}"})
        for name, topic in recipe.topics.items()
    }
    methods = {name: dict(options) for name, options in recipe.methods.items()}
    for options in methods.values():
        options["steps"] = 4
    methods["rmu"]["layer"] = 3
    if "parameters" in methods["rmu"]:
        methods["rmu"]["parameters"] = methods["rmu"]["parameters"].replace("14336", "24")
    benchmarks: dict[str, dict[str, Any]] = {}
    for name, options in recipe.benchmarks.items():
        resolved = resolve_options(find_plugin("benchmark", name).spec, {**options, **JUDGE.get(name, {})}, name)
        benchmarks[name] = {**resolved, "source": f"{hub}/{resolved['source']}"}
    changes = {
        "model": str(model),
        "dtype": "float32",
        "limit": 2,
        "topics": topics,
        "methods": methods,
        "benchmarks": benchmarks,
    }
    return recipe.model_copy(update=changes)


JUDGE = {"mt_bench": {"judge": "rules", "max_new_tokens": 4}}  # nobody is asked here


@pytest.mark.parametrize("name", FAMILIES)
def test_runs_end_to_end(name, tmp_path, tokenizer, hub):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config, extra = FAMILIES[name]
    AutoModelForCausalLM.from_config(config(**SHAPE, **extra)).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    recipe = shrink(load_recipe(name), tmp_path / "model", hub)
    comparison = prepare(Request(recipe=recipe, out=tmp_path / "run", cache=tmp_path / "cache"))
    for result in execute(comparison, Silent()):
        assert result.status == "done", result.error
        assert result.value is not None
    board = read_leaderboard(tmp_path / "run")
    assert {row.variant for row in board.rows} == {"none", *recipe.methods}
    assert [column.title for column in board.columns] == ["wmdp/bio", "wmdp/cyber", "wmdp/chem", "mmlu", "mt_bench"]
    assert [column.role for column in board.columns] == ["forget", "forget", "untargeted", "retain", "retain"]


def test_only_expert_0s_up_projection_moves(tmp_path, tokenizer):
    """Mixtral's fused experts: gradients outside the slice are zero, and the rest of the tensor stays bit for bit."""
    from helpers.streams import prepare as start
    from helpers.streams import train
    from transformers import AutoModelForCausalLM

    from unlearnbench_methods.rmu import RMU

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(MixtralConfig(**SHAPE, num_local_experts=4)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pattern = load_recipe("wmdp-mixtral-8x7b").methods["rmu"]["parameters"].replace("14336", "24")
    train(start(RMU(model, layer=3, parameters=pattern, coefficient=50.0, alpha=1.0, lr=1e-2), tokenizer), 4)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.experts.gate_up_proj" for block in (1, 2, 3)}
    for name in changed:
        moved = model.state_dict()[name] != before[name]
        assert moved[0, 24:].any()
        assert not moved[1:].any()
        assert not moved[0, :24].any()


def test_the_slice_is_w3_of_expert_0(tmp_path):
    """A checkpoint as Mixtral's is on the hub, with a matrix per expert: the recipe's slice holds exactly its w3.

    The reference trains index 7 of a block, which was `block_sparse_moe.experts.0.w3.weight` then.
    """
    from safetensors.torch import save_file

    from unlearnbench.models.blocks import select_parameters, split_slice
    from unlearnbench.models.loading import load_model

    config = MixtralConfig(**SHAPE, num_local_experts=4, architectures=["MixtralForCausalLM"])
    width, inner = config.hidden_size, config.intermediate_size
    config.save_pretrained(tmp_path)
    shapes = {"model.embed_tokens": (2048, width), "model.norm": (width,), "lm_head": (2048, width)}
    for block in range(5):
        name = f"model.layers.{block}"
        norms = {f"{name}.{norm}": (width,) for norm in ("input_layernorm", "post_attention_layernorm")}
        attention = {f"{name}.self_attn.{p}_proj": (8 if p in "kv" else width, width) for p in "qkvo"}
        experts = {
            f"{name}.block_sparse_moe.experts.{expert}.{matrix}": (width, inner) if matrix == "w2" else (inner, width)
            for expert in range(4)
            for matrix in ("w1", "w2", "w3")
        }
        shapes |= norms | attention | experts | {f"{name}.block_sparse_moe.gate": (4, width)}
    torch.manual_seed(0)
    tensors = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = load_model(tmp_path, torch.float32, torch.device("cpu"))
    pattern, part = split_slice(load_recipe("wmdp-mixtral-8x7b").methods["rmu"]["parameters"].replace("14336", str(inner)))
    chosen = select_parameters(model, pattern, [2])
    assert len(chosen) == 1
    fused = next(iter(chosen.values()))
    assert torch.equal(fused[part], tensors["model.layers.2.block_sparse_moe.experts.0.w3.weight"])
    real = MixtralConfig()
    assert (2 * real.intermediate_size, real.hidden_size) == (28672, 4096)  # 14336 is the middle of the fused matrix


def test_slices_that_do_not_fit(tiny_model):
    from unlearnbench.errors import UsageError
    from unlearnbench_methods.rmu import RMU

    with pytest.raises(UsageError, match=r"has the shape \(32, 48\); there is nothing at the given slice"):
        RMU(tiny_model, layer=3, parameters=r"down_proj\.weight[40:]")
    with pytest.raises(UsageError, match="cannot decay a slice"):
        RMU(tiny_model, layer=3, parameters=r"down_proj\.weight[0:4]", weight_decay=0.1)
