"""Keys of a config that transformers would pass over: slips are refused, what authors have of their own is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.families import EVERY, tiny
from helpers.model_folders import adapter_of, edit_json, with_config

from unlearnbench.errors import UsageError
from unlearnbench.models.config_keys import check_config, is_slip
from unlearnbench.models.loading import check_weights

LLAMA: dict[str, Any] = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 8, "num_hidden_layers": 2}
# as fine-tuning scripts, quantisers, converters and authors leave them
HARMLESS = {
    "_name_or_path": "meta-llama/Meta-Llama-3-8B",
    "auto_map": {"AutoConfig": "configuration_own.OwnConfig"},
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.0.dev0",
    "unsloth_version": "2024.9",
    "unsloth_fixed": True,
    "pretraining_tp": 1,
    "eod_token_id": 151643,
    "architecture": "decoder",
    "n_layer": 32,
    "n_layers": 32,
    "seq_length": 2048,
    "attn_implementation": "sdpa",
    "neftune_noise_alpha": 5.0,
    "max_window_layers": 21,
    "use_mrope": False,
    "output_router_logits": False,
    "mergekit_version": "0.1",
    "rms_norm": None,
}
# as they stand on the hub, less the sizes: Llama 3.1, a long Vicuna, DeepSeek's Qwen3, Yarn Llama 2, Qwen2-VL's text
ROTARY = [
    {"rope_scaling": None, "rope_theta": 500000.0},
    {
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
            "rope_type": "llama3",
        },
    },
    {"rope_scaling": {"factor": 4.0, "type": "linear"}},
    {
        "rope_theta": 1e6,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
            "attn_factor": 0.8782488562869419,
        },
    },
    {"rope_scaling": {"factor": 16.0, "original_max_position_embeddings": 4096, "type": "yarn", "finetuned": True}},
    {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
    {"rope_parameters": {"rope_theta": 1e6}},
    {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}, "rope_theta": 1e6},
    {"rope_scaling": {}},
    {"rope_parameters": None},
    {"rope_parameters": {}, "rope_theta": 1e6},
]


def config(folder: Path, **settings: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**LLAMA, **settings}))
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as found:
        check_config(folder)
    assert str(found.value).isprintable()
    return str(found.value)


@pytest.mark.parametrize("settings", [HARMLESS, *ROTARY])
def test_what_models_on_the_hub_have_is_taken(tmp_path, settings):
    check_config(config(tmp_path, **settings))


@pytest.mark.filterwarnings("ignore")  # of the families themselves
@pytest.mark.parametrize("family", EVERY)
def test_every_family_is_taken_with_keys_of_others_beside_its_own(family, tmp_path):
    tiny(family).config.save_pretrained(tmp_path)
    check_config(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    edit_json(tmp_path / "config.json", **{name: value for name, value in HARMLESS.items() if name not in settings})
    check_config(tmp_path)


def test_kinds_of_layers_that_a_small_model_lacks_are_no_slip(tmp_path):
    """Gemma 3 names both; with two blocks one of them has no layer."""
    each = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    }
    folder = config(tmp_path, model_type="gemma3_text", rope_parameters=each)
    check_config(folder)
    config(tmp_path, model_type="gemma3_text", rope_parameters={**each, "sliding_attention": {"rope_type": "default"}})
    assert "has no rope_theta in rope_parameters.sliding_attention" in refused(folder)


@pytest.mark.parametrize(
    ("settings", "key", "meant"),
    [
        ({"rms_norm_epss": 1e-5}, "'rms_norm_epss'", "no rms_norm_eps, which would be 1e-06 by default: write rms_norm_eps"),
        ({"RMS_NORM_EPS": 1e-5}, "'RMS_NORM_EPS'", "write rms_norm_eps instead"),
        ({" rms_norm_eps": 1e-5}, "' rms_norm_eps'", "write rms_norm_eps instead"),
        ({"rms_morm_eps": 1e-5}, "'rms_morm_eps'", "write rms_norm_eps instead"),
        ({"rms\0_norm_eps": 1e-5}, r"'rms\x00_norm_eps'", "write rms_norm_eps instead"),
        ({"rope_tehta": 5e5}, "'rope_tehta'", "no rope_theta: write rope_theta instead"),
        ({"rope_scalings": {"rope_type": "linear"}}, "'rope_scalings'", "write rope_scaling instead"),
        ({"rope_parameters": {"rope_thetas": 5e5}}, "'rope_parameters.rope_thetas'", "write rope_theta instead"),
        ({"rope_scaling": {"ROPE_TYPE": "linear", "factor": 2.0}}, "'rope_scaling.ROPE_TYPE'", "write rope_type instead"),
        ({"rope_scaling": {"rope_type": "linear", "factors": 2.0}}, "'rope_scaling.factors'", "write factor instead"),
    ],
)
def test_a_slip_of_a_key_is_refused(tmp_path, settings, key, meant):
    said = refused(config(tmp_path, **settings))
    assert said.startswith(f"{tmp_path / 'config.json'} has the key {key}, which LlamaConfig does not know, and no ")
    assert meant in said


@pytest.mark.parametrize(
    "settings",
    [
        {"rms_norm_epss": 1e-6},  # what it is by default
        {"rms_norm_epss": 1e-5, "rms_norm_eps": 1e-5},  # the right one is there, too
        {"architecturess": ["LlamaForCausalLM"]},  # no score depends on it
    ],
)
def test_a_slip_that_changes_nothing_is_left_alone(tmp_path, settings):
    check_config(config(tmp_path, **settings))


@pytest.mark.parametrize(
    ("rotary", "said"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": True}}, "has true as rope_theta in rope_parameters, and"),
        ({"rope_parameters": {}}, "has no rope_theta in rope_parameters"),
        ({"rope_parameters": {"rope_type": "default"}}, "has no rope_theta in rope_parameters"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": None}}, "has no rope_theta in rope_parameters"),
        ({"rope_parameters": {"x": 5e5, "rope_type": "default"}}, "has no rope_theta in rope_parameters"),
        ({"rope_parameters": {"x": {"rope_theta": 5e5}}}, "has no rope_theta in rope_parameters"),
        ({"rope_scaling": {"factor": 2.0}}, "has factor in rope_scaling and no rope_type, so that"),
        (
            {"rope_parameters": {"rope_theta": 1e6, "x": "yarn", "factor": 2.0, "beta_fast": 8}},
            "has beta_fast, factor in rope_parameters and no rope_type, so that transformers would rotate without them",
        ),
    ],
)
def test_rotary_settings_that_are_not_whole_are_refused(tmp_path, rotary, said):
    assert said in refused(config(tmp_path, **rotary))


def test_the_config_inside_a_config_is_looked_at_too(tmp_path):
    tiny("gemma3").config.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["text_config"]["rms_norm_epss"] = settings["text_config"].pop("rms_norm_eps") * 2
    edit_json(tmp_path / "config.json", **settings)
    assert "has the key 'text_config.rms_norm_epss', which Gemma3TextConfig does not know" in refused(tmp_path)


def test_it_is_looked_at_before_anything_is_loaded(tiny_folder, tmp_path):
    folder = with_config(tiny_folder, tmp_path / "model", rope_parameters={"rope_type": "default", "rope_thetas": 5e5})
    with pytest.raises(UsageError, match=r"'rope_parameters.rope_thetas'.*write rope_theta instead"):
        check_weights(folder)
    adapter = adapter_of(tiny_folder, tmp_path / "adapter")
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=str(folder))
    with pytest.raises(UsageError, match=r"'rope_parameters.rope_thetas'.*write rope_theta instead"):
        check_weights(adapter)


@pytest.mark.parametrize(
    ("given", "meant", "slip"),
    [
        ("rope_theta", "rope_thetas", True),
        ("rope_theta", "rope_thet", True),
        ("rope_theta", "rope_thata", True),
        ("rope_theta", "rpoe_theta", True),
        (" Rope_Theta", "rope_theta", True),
        ("factor", "attn_factor", False),
        ("attn_factor", "attention_factor", False),
        ("eod_token_id", "eos_token_id", False),
        ("n_head", "d_head", False),
        ("", "x", False),
        ("rope_thetas", "rop_theta", False),
    ],
)
def test_what_is_a_slip(given, meant, slip):
    assert is_slip(given, meant) is slip
