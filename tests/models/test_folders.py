"""A model's folder is looked through before anything is loaded: one sentence for everything that may be wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import tiny_llama
from helpers.model_folders import POINTER, adapter_of, edit_json, with_config, with_tensors

from unlearnbench.errors import UsageError
from unlearnbench.models.folders import base_folder, model_folder, tokenizer_folder, weights_identity
from unlearnbench.models.loading import check_weights, load_tokenizer
from unlearnbench.models.weight_files import read_tensors, tensor_files
from unlearnbench.system.files import JsonCache

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "model")


@pytest.fixture
def sharded(folder) -> Path:
    (folder / WEIGHTS).unlink()
    tiny_llama().save_pretrained(folder, max_shard_size="100KB")
    return folder


@pytest.fixture
def adapter(tiny_folder, tmp_path) -> Path:
    return adapter_of(tiny_folder, tmp_path / "adapter")


def refused(folder, action=model_folder):
    with pytest.raises(UsageError) as found:
        action(str(folder) if action is model_folder else folder)
    assert "\n" not in str(found.value)
    return str(found.value)


def test_whole_folders_are_taken(tiny_folder, sharded, adapter):
    assert model_folder(str(tiny_folder)) == tiny_folder
    assert len(tensor_files(model_folder(str(sharded)))) == 3
    assert base_folder(model_folder(str(adapter))) == tiny_folder


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs(folder, name):
    (folder / name).write_text(POINTER)
    message = refused(folder)
    assert f"{name} in {folder} is a Git LFS pointer, not the file itself; " in message
    assert f"`git -C {folder} lfs pull`" in message


def test_several_pointers_are_said_at_once(sharded):
    for file in sharded.glob("*.safetensors"):
        file.write_text(POINTER)
    message = refused(sharded)
    assert "model-00001-of-00003.safetensors in" in message
    assert "and so are model-00002-of-00003.safetensors, model-00003-of-00003.safetensors;" in message


@pytest.mark.parametrize("size", [0, 20, 2000])
def test_a_file_that_was_cut_off(folder, size):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:size])
    assert f"{WEIGHTS} is damaged or was not copied whole ({size:,} bytes)" in refused(folder)


def test_a_missing_file_of_several(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    assert f"is not whole: model-00002-of-00003.safetensors is missing, which {INDEX} names" in refused(sharded)


def test_a_missing_index(sharded):
    (sharded / INDEX).unlink()
    assert f"has neither {WEIGHTS} nor {INDEX}, only model-00001-of-00003.safetensors, " in refused(sharded)


def test_an_index_without_metadata(sharded):
    """Transformers asks for it once it loads."""
    edit_json(sharded / INDEX, metadata=None)
    assert f"{INDEX} is broken: it has no metadata" in refused(sharded)


@pytest.mark.parametrize("content", ['{"weight_map": {', "{}", "[]", '{"weight_map": {"a": 1}}', '{"weight_map": []}'])
def test_a_broken_index(sharded, content):
    (sharded / INDEX).write_text(content)
    assert INDEX in refused(sharded)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_config(folder, content):
    (folder / "config.json").write_text(content)
    assert "JSON" in refused(folder)


@pytest.mark.parametrize(
    ("quantised", "said"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes, 4 bits"),
        ({"quant_method": "gptq", "bits": 8}, "gptq, 8 bits"),
        ({"quant_method": "awq", "w_bit": 4}, "awq, 4 bits"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"bits": 4}, "by a method that its config does not name, 4 bits"),
    ],
)
def test_a_quantised_model(tiny_folder, tmp_path, quantised, said):
    folder = with_config(tiny_folder, tmp_path / "model", quantization_config=quantised)
    assert f"is quantised ({said}): what is compared here are full weights." in refused(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.float8_e4m3fn])
def test_quantised_weights_of_which_the_config_says_nothing(tiny_folder, tmp_path, dtype):
    """Transformers makes numbers of them, without the scales that belong to them."""
    name = "model.layers.0.mlp.down_proj.weight"
    folder = with_tensors(tiny_folder, tmp_path / "model", lambda own: own | {name: own[name].to(dtype)})
    assert f"are quantised, whatever its config says: it holds {name} as " in refused(folder)


def test_a_broken_generation_config(folder):
    (folder / "generation_config.json").write_text("{")
    assert "generation_config.json cannot be read as JSON" in refused(folder)


def test_weights_of_llama_cpp(folder):
    (folder / WEIGHTS).rename(folder / "model-q4.gguf")
    assert "only as GGUF (model-q4.gguf)" in refused(folder)


def test_a_folder_without_a_tokenizer(folder):
    """A tokenizer_config.json alone makes transformers answer with a tokenizer of three words."""
    (folder / "tokenizer.json").unlink()
    assert (folder / "tokenizer_config.json").is_file()
    assert f"The model folder {folder} has no tokenizer: none of tokenizer.json" in refused(folder, load_tokenizer)


@pytest.mark.parametrize("content", ["{}", "{", '{"version": "1.0", "added_tokens": []}'])
def test_a_broken_tokenizer(folder, content):
    (folder / "tokenizer.json").write_text(content)
    assert f"The tokenizer in {folder} cannot be loaded: " in refused(folder, load_tokenizer)


@pytest.mark.parametrize("pieces", [2, 3])
def test_a_tokenizer_that_writes_texts_several_times(folder, pieces):
    content = json.loads((folder / "tokenizer.json").read_text())
    text = {"Sequence": {"id": "A", "type_id": 0}}
    special = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special] + [text] * pieces,
        "pair": [text, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "writes each text more than once, as the post_processor of its" in refused(folder, load_tokenizer)


def test_an_adapter_beside_full_weights(folder, adapter):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, folder)
    message = refused(folder)
    assert "holds an adapter (adapter_config.json) beside full weights" in message
    assert "take adapter_config.json and adapter_model.safetensors away for the weights alone" in message


def test_tensors_of_other_files_are_not_the_model_s(folder, tiny_folder, adapter):
    """What transformers does not load is not read either: an adapter's factors, weights of other formats."""
    shutil.copy(adapter / "adapter_model.safetensors", folder)
    shutil.copy(tiny_folder / WEIGHTS, folder / "consolidated.safetensors")
    check_weights(model_folder(str(folder)))
    assert [name for name, _ in read_tensors(tensor_files(folder), {"model.norm.weight"})] == ["model.norm.weight"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_model_name_or_path": None}, "does not say which model it was trained on; write its path or hub id into"),
        (
            {"base_model_name_or_path": "/no/model"},
            "was trained on '/no/model', which cannot be used: The source '/no/model' does",
        ),
        ({"base_model_name_or_path": "some/model", "revision": "v1"}, "was trained on 'some/model@v1', which cannot be used: "),
        ({"peft_type": "PREFIX_TUNING"}, "is of the kind PREFIX_TUNING; only LORA is merged here."),
    ],
)
def test_an_adapter_that_cannot_be_merged(adapter, settings, said):
    edit_json(adapter / "adapter_config.json", **settings)
    assert said in refused(adapter)


def test_an_adapter_of_an_adapter(adapter, tmp_path):
    upper = shutil.copytree(adapter, tmp_path / "upper")
    edit_json(upper / "adapter_config.json", base_model_name_or_path=str(adapter))
    assert "it is an adapter itself; merge that one first" in refused(upper)


def test_an_adapter_of_a_quantised_model(adapter, folder):
    edit_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(folder))
    assert f"was trained on '{folder}', which cannot be used: The model in {folder} is quantised" in refused(adapter)


def test_an_adapter_without_safetensors(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    assert "has its weights only as pickles (adapter_model.bin)" in refused(adapter)
    (adapter / "adapter_model.bin").unlink()
    assert "has no weights: adapter_model.safetensors is missing" in refused(adapter)


def test_the_identity_of_an_adapter_follows_both_of_its_parts(adapter, folder, tmp_path):
    memory = JsonCache(tmp_path / "memory.json")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(folder))
    first = weights_identity(adapter, memory)
    assert first != weights_identity(folder, memory)
    edit_json(adapter / "adapter_config.json", lora_alpha=32)
    second = weights_identity(adapter, memory)
    edit_json(folder / "config.json", rms_norm_eps=1e-3)
    assert len({first, second, weights_identity(adapter, memory)}) == 3


def test_an_adapter_s_own_tokenizer_comes_first(adapter, tiny_folder):
    assert tokenizer_folder(adapter) == tiny_folder
    shutil.copy(tiny_folder / "tokenizer.json", adapter)
    assert tokenizer_folder(adapter) == adapter
