"""Weights that are not those of the config: refused from the headers, and once more when they are loaded."""

from __future__ import annotations

import re

import pytest
import torch
import transformers
from conftest import tiny_llama
from helpers.families import FAMILIES, SHAPE
from helpers.model_folders import renamed, with_config, with_tensors
from safetensors.torch import save_file

from unlearnbench.errors import UsageError
from unlearnbench.models.loading import check_weights, load_model

CPU = torch.device("cpu")


def refused(folder, **options):
    """What both looks at the weights say; they must agree that something is wrong."""
    with pytest.raises(UsageError) as found:
        check_weights(folder)
    with pytest.raises(UsageError, match="do not fit the LlamaForCausalLM"):
        load_model(folder, torch.float32, CPU, **options)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    "words", [("_orig_mod.",), ("module.",), ("base_model.model.",), ("module.", "_orig_mod."), ("mine.",)]
)
def test_a_wrapper_in_the_names_is_named_and_stripped(tiny_folder, tmp_path, words):
    folder = renamed(tiny_folder, tmp_path / "model", lambda name: "".join(words) + name)
    message = refused(folder)
    assert f"hold {' and '.join(map(repr, words))}, which a wrapper around the model left there" in message
    command = re.search(r'`python -c "(.*)"`', message).group(1)
    exec(command, {})
    check_weights(folder)
    stripped, whole = (load_model(place, torch.float32, CPU).state_dict() for place in (folder, tiny_folder))
    assert all(torch.equal(stripped[name], tensor) for name, tensor in whole.items())


def test_a_wrapper_within_the_names(tiny_folder, tmp_path):
    folder = renamed(
        tiny_folder, tmp_path / "model", lambda name: re.sub(r"(layers\.\d+\.)", r"\1_checkpoint_wrapped_module.", name)
    )
    assert "hold '_checkpoint_wrapped_module.'" in refused(folder)


@pytest.mark.parametrize("blocks", [None, 6])
def test_a_missing_block(tiny_folder, tmp_path, blocks):
    folder = renamed(tiny_folder, tmp_path / "model", lambda name: None if ".layers.5." in name else name)
    message = refused(folder, blocks=blocks)
    assert "9 tensors are missing (model.layers.5.input_layernorm.weight, " in message
    assert "and 6 more" in message


def test_fewer_blocks_in_the_config_than_in_the_files(tiny_folder, tmp_path):
    folder = with_config(tiny_folder, tmp_path / "model", num_hidden_layers=5)
    assert "9 tensors are unknown to it (model.layers.5." in refused(folder)


def test_tensors_of_another_shape(tiny_folder, tmp_path):
    folder = with_config(tiny_folder, tmp_path / "model", intermediate_size=64)
    assert "of another shape (model.layers.0.mlp.down_proj.weight: 32 x 48 instead of 32 x 64, " in refused(folder)


def test_a_head_that_is_not_tied_is_missed(tiny_folder, tmp_path):
    folder = with_config(tiny_folder, tmp_path / "model", tie_word_embeddings=False)
    assert "1 tensor is missing (lm_head.weight)" in refused(folder)


def test_the_lower_blocks_alone_are_no_misfit(tiny_folder):
    assert load_model(tiny_folder, torch.float32, CPU, blocks=2).config.num_hidden_layers == 2


def test_an_expert_that_is_missing(tmp_path):
    config = transformers.MixtralConfig(**SHAPE, num_key_value_heads=2, num_local_experts=4)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "whole")
    folder = renamed(
        tmp_path / "whole", tmp_path / "model", lambda name: None if "2.block_sparse_moe.experts.1.w1" in name else name
    )
    with pytest.raises(UsageError, match=r"do not fit the MixtralForCausalLM .* such as a block's experts"):
        check_weights(folder)
    with pytest.raises(UsageError, match=r"cannot be loaded: .* some are missing"):
        load_model(folder, torch.float32, CPU)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_family_saves_fits(family, tmp_path):
    config = getattr(transformers, f"{family}Config")(**SHAPE, **FAMILIES[family])
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path, max_shard_size="150KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    check_weights(tmp_path)


def test_names_without_the_prefix_of_the_base_model_fit(tiny_folder, tmp_path):
    check_weights(renamed(tiny_folder, tmp_path / "model", lambda name: name.removeprefix("model.")))


def test_buffers_of_old_files_fit(tmp_path):
    """As the hub has them: GPT-2 without a prefix and with its masks, GPT-NeoX and GPT-J with masks, Llama with frequencies."""
    shape = {"vocab_size": 64, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, "n_ctx": 16}
    mask, number, frequencies = torch.ones(1, 1, 16, 16), torch.tensor(-1e4), torch.ones(2)
    old = {
        "gpt2": (transformers.GPT2Config(**shape), {"h.0.attn.bias": mask, "h.0.attn.masked_bias": number}),
        "gptj": (
            transformers.GPTJConfig(**shape, rotary_dim=2),
            {"transformer.h.0.attn.bias": mask, "transformer.h.0.attn.masked_bias": number},
        ),
        "neox": (
            transformers.GPTNeoXConfig(**SHAPE),
            {
                "gpt_neox.layers.0.attention.bias": mask,
                "gpt_neox.layers.0.attention.masked_bias": number,
                "gpt_neox.layers.0.attention.rotary_emb.inv_freq": frequencies,
            },
        ),
        "llama": (tiny_llama().config, {"model.layers.0.self_attn.rotary_emb.inv_freq": frequencies}),
    }
    for name, (config, extra) in old.items():
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "new" / name)
        folder = with_tensors(
            tmp_path / "new" / name,
            tmp_path / name,
            lambda own, name=name, extra=extra: (
                {(key.removeprefix("transformer.") if name == "gpt2" else key): tensor for key, tensor in own.items()} | extra
            ),
        )
        check_weights(folder)
        load_model(folder, torch.float32, CPU)


def test_the_part_that_predicts_further_tokens_is_no_misfit(tiny_folder, tmp_path):
    folder = with_tensors(tiny_folder, tmp_path / "model", lambda own: own | {"mtp.layers.0.weight": torch.zeros(2)})
    check_weights(folder)
    further = with_config(tiny_folder, tmp_path / "further", num_nextn_predict_layers=1, num_hidden_layers=5)
    check_weights(further)


def test_a_large_model_is_checked_without_its_weights(tmp_path):
    """28 GB of weights in a file that takes no disk, in a moment and without memory for them."""
    import json
    import resource

    sizes = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    config = transformers.LlamaConfig(vocab_size=32000, **sizes)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        state = transformers.LlamaForCausalLM(config).state_dict()
    header, place = {}, 0
    for name, tensor in state.items():
        size = tensor.numel() * 4
        header[f"module.{name}"] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [place, place + size]}
        place += size
    content = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=r"hold 'module\.'"):
        check_weights(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_a_misfit_in_a_second_file_is_found(tmp_path):
    tiny_llama().save_pretrained(tmp_path, max_shard_size="100KB")
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    save_file({"something.else": torch.zeros(2)}, last, {"format": "pt"})
    with pytest.raises(UsageError, match="missing"):
        check_weights(tmp_path)
