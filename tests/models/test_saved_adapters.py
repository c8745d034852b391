"""Adapters as PEFT saves them: merged in float32, restored bit for bit, refused where they do not fit their base."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest
import torch
from conftest import tiny_llama
from helpers.model_folders import adapter_of, edit_json, tiny_gpt2
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from unlearnbench.errors import UsageError
from unlearnbench.models.folders import base_folder
from unlearnbench.models.loading import check_weights, load_model
from unlearnbench.models.restorable import LoadedModel
from unlearnbench_methods.rmu import RMU

CPU = torch.device("cpu")
TOKENS = torch.arange(4, 40).view(2, 18)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory, tokenizer):
    """A base in bfloat16, so that a second rounding would show."""
    folder = tmp_path_factory.mktemp("narrow") / "model"
    tiny_llama(seed=3).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_weight_is_merged_in_float32_and_rounded_once(narrow, tmp_path, dtype):
    adapter = adapter_of(narrow, tmp_path / "adapter")
    merged = load_model(adapter, dtype, CPU).state_dict()
    factors = load_file(adapter / "adapter_model.safetensors")
    for name, weight in load_file(narrow / "model.safetensors").items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        expected = weight.float()
        if name.endswith(("q_proj.weight", "down_proj.weight")):
            expected = expected + 16 / 4 * (factors[f"{module}.lora_B.weight"] @ factors[f"{module}.lora_A.weight"])
        assert merged[name].dtype == dtype
        assert torch.equal(merged[name], expected.to(dtype)), name


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"down_proj": 2}, "alpha_pattern": {"q_proj": 3}},
        {"target_modules": "all-linear"},
        {"layers_to_transform": [1, 4]},
    ],
)
def test_the_merged_model_answers_as_peft_s(tiny_folder, tmp_path, options):
    compare_with_peft(adapter_of(tiny_folder, tmp_path / "adapter", **options))


def compare_with_peft(adapter):
    check_weights(adapter)
    model = load_model(adapter, torch.float32, CPU)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = AutoPeftModelForCausalLM.from_pretrained(adapter).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(TOKENS).logits, theirs(TOKENS).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(
            model(TOKENS).logits, load_model(base_folder(adapter), torch.float32, CPU)(TOKENS).logits, atol=1e-2
        )
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not [name for name, _ in model.named_modules() if "lora" in name or "base_layer" in name]
    model.save_pretrained(adapter / "merged")
    assert torch.equal(load_model(adapter / "merged", torch.float32, CPU)(TOKENS).logits, model(TOKENS).logits)


EMBEDDINGS = ({"modules_to_save": ["lm_head"]}, {"target_modules": ["embed_tokens", "v_proj"]}, {"target_modules": ["lm_head"]})


@pytest.mark.parametrize("options", EMBEDDINGS)
def test_embeddings_are_adapted_where_input_and_output_have_their_own(tiny_folder, tmp_path, options):
    """One tensor for both cannot hold what is learnt for one of them."""
    with pytest.raises(UsageError, match="has one tensor for the embeddings of input and output"):
        check_weights(adapter_of(tiny_folder, tmp_path / "tied", **options))
    untied = tiny_llama().config
    untied.tie_word_embeddings = False
    LlamaForCausalLM(untied).save_pretrained(tmp_path / "untied")
    compare_with_peft(adapter_of(tmp_path / "untied", tmp_path / "adapter", **options))


def test_a_row_trains_on_a_merged_model_and_gives_it_back(tiny_folder, tmp_path):
    """The files do not hold the merged weights: what is put back must be those, and not the base's."""
    source = str(adapter_of(tiny_folder, tmp_path / "adapter", target_modules=["down_proj"]))
    loaded = LoadedModel(source, "float32", CPU)
    method = loaded.build(lambda model: RMU(model, layer=3, coefficient=1.0, alpha=1.0, lr=1e-3))
    before = {name: parameter.detach().clone() for name, parameter in loaded.model.named_parameters()}
    with torch.no_grad():
        for parameter in method.changing().values():
            parameter.add_(1.0)
    delta = loaded.delta()
    assert set(delta) == set(method.changing())
    assert loaded.complete(delta) == []
    loaded.restore()
    whole = load_model(tmp_path / "adapter", torch.float32, CPU).state_dict()
    assert all(torch.equal(loaded.model.state_dict()[name], tensor) for name, tensor in whole.items())
    assert all(torch.equal(whole[name], tensor) for name, tensor in before.items())


def test_an_adapter_that_merging_would_change(tiny_folder, tmp_path):
    """Activated LoRA answers only behind certain words, which no merged weight can."""
    adapter = adapter_of(tiny_folder, tmp_path / "adapter", alora_invocation_tokens=[5, 6], target_modules=["q_proj"])
    with pytest.raises(UsageError, match=r"cannot be merged into .*: aLoRA does not support"):
        check_weights(adapter)


def test_an_adapter_of_a_larger_model(tiny_folder, tmp_path, tokenizer):
    config = tiny_llama().config
    config.num_hidden_layers = 7
    LlamaForCausalLM(config).save_pretrained(tmp_path / "large")
    adapter = adapter_of(tmp_path / "large", tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(tiny_folder))
    with pytest.raises(UsageError) as found:
        check_weights(adapter)
    assert f"The adapter in {adapter} does not fit '{tiny_folder}', the LlamaForCausalLM that it names as its base" in str(
        found.value
    )
    assert "4 tensors are unknown to it (base_model.model.model.layers.6.mlp.down_proj.lora_A.weight" in str(found.value)


def test_an_adapter_of_a_wider_model_or_other_names(tiny_folder, tmp_path):
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    wider = shutil.copytree(adapter, tmp_path / "wider")
    edit_json(wider / "adapter_config.json", r=8)
    with pytest.raises(UsageError, match=r"of another shape \(base_model.*lora_A.weight: 4 x 48 instead of 8 x 48"):
        check_weights(wider)
    edit_json(adapter / "adapter_config.json", target_modules=["query_key_value"])
    with pytest.raises(UsageError, match=r"does not fit .* not found in the base model"):
        check_weights(adapter)
    more = shutil.copytree(wider, tmp_path / "more")
    edit_json(more / "adapter_config.json", r=4, target_modules=["q_proj", "down_proj", "v_proj"])
    with pytest.raises(UsageError, match=r"12 tensors are missing \(base_model.*v_proj.lora_A.weight"):
        check_weights(more)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory, tokenizer):
    return tiny_gpt2(tmp_path_factory.mktemp("gpt2") / "model", tokenizer)


@pytest.mark.filterwarnings("ignore:.*fan_in_fan_out")
@pytest.mark.parametrize("said", [None, True, False])
def test_transposed_weights_are_merged_as_they_lie(gpt2, tmp_path, said):
    """Whatever the config says of them: PEFT sees by itself which layers are transposed."""
    adapter = adapter_of(gpt2, tmp_path / "adapter", target_modules=["c_attn", "c_fc", "c_proj"])
    if said is not None:
        edit_json(adapter / "adapter_config.json", fan_in_fan_out=said)
    check_weights(adapter)
    merged = load_model(adapter, torch.bfloat16, CPU).state_dict()
    factors = load_file(adapter / "adapter_model.safetensors")
    adapted = 0
    for name, weight in load_file(gpt2 / "model.safetensors").items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        expected = weight.bfloat16().float()
        if f"{module}.lora_A.weight" in factors and name.endswith(".weight"):
            learnt = factors[f"{module}.lora_B.weight"] @ factors[f"{module}.lora_A.weight"]  # (out, in)
            expected = expected + 16 / 4 * learnt.T  # (in, out)
            adapted += 1
        assert torch.equal(merged[name], expected.bfloat16()), name
    assert adapted == 4 * 4


@pytest.mark.filterwarnings("ignore:.*fan_in_fan_out")
@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["c_attn"]},
        {"target_modules": ["c_attn", "mlp.c_proj"], "use_rslora": True, "alpha_pattern": {"c_attn": 3}},
        {"target_modules": ["c_fc"], "use_dora": True},
        {"target_modules": "all-linear"},
        {"target_modules": ["c_attn"], "modules_to_save": ["wpe"]},
    ],
)
def test_an_adapted_gpt2_answers_as_peft_s(gpt2, tmp_path, options):
    compare_with_peft(adapter_of(gpt2, tmp_path / "adapter", **options))


@pytest.mark.parametrize("options", [{"target_modules": ["lm_head"]}, {"target_modules": ["wte"]}])
def test_an_adapter_of_gpt2_s_shared_embeddings_is_refused(gpt2, tmp_path, options):
    with pytest.raises(UsageError, match="has one tensor for the embeddings of input and output"):
        check_weights(adapter_of(gpt2, tmp_path / "adapter", **options))


@pytest.mark.parametrize("settings", [{"lora_alpha": None}, {"lora_alpha": True}, {"r": "8"}, {"use_rslora": [False]}])
def test_an_adapter_of_unknown_scale(tiny_folder, tmp_path, settings):
    """PEFT would guess it, and the scores would be those of another model."""
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", **settings)
    with pytest.raises(
        UsageError, match=r"adapter_config.json is damaged: it has .* as (r|lora_alpha|use_rslora), which decides"
    ):
        check_weights(adapter)


def test_an_adapter_with_a_setting_that_peft_does_not_know(tiny_folder, tmp_path):
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", alpha_pattern=True)
    with pytest.raises(UsageError, match=f"The adapter in {adapter} does not fit"):
        check_weights(adapter)


@pytest.mark.parametrize("alpha", [0, -16])
def test_an_adapter_of_which_nothing_would_be_left(tiny_folder, tmp_path, alpha):
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", lora_alpha=alpha)
    with pytest.raises(UsageError, match=f"it has {alpha} as lora_alpha, and nothing of the adapter would be left"):
        check_weights(adapter)


@pytest.mark.filterwarnings("ignore:Unexpected keyword arguments")
def test_a_slip_in_an_adapter_s_config(tiny_folder, tmp_path):
    """PEFT would pass over it, and scale the adapter otherwise."""
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    settings["use_rslores"] = settings["use_rslora"] = True
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    check_weights(adapter)  # a key of somebody's own
    settings["use_rsloras"] = settings.pop("use_rslora")
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(UsageError, match="has the key 'use_rsloras', which LoraConfig does not know, and no use_rslora"):
        check_weights(adapter)
