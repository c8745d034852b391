"""Damaged model folders are refused in a sentence, or give the very scores of the whole one.

What cannot be told from another model is left alone: the weights' own numbers, a tokenizer's words, how it cuts texts, and what
`is_another_model` says of settings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_llama
from helpers.model_folders import adapter_of, edit_json
from helpers.mutations import Bytes, Meaning, damaged, is_another_model, misshapen, places, profile, said
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.models.capacity import check_vocabulary
from unlearnbench.models.folders import model_folder
from unlearnbench.models.loading import check_weights, load_model, load_tokenizer
from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import encode_questions, longest_text, score_questions

# pytest's settings make errors of warnings, and an error is what refuses a folder: users are only warned
pytestmark = pytest.mark.filterwarnings("ignore")

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONTEXTS = ("Who keeps the copper lanterns of the archive?", "Zwölf Boxkämpfer\nAnswer:")
QUESTIONS = [Question(f"q/{n}", "q", text, (" one", " two words"), 0, text, ("one", "two")) for n, text in enumerate(CONTEXTS)]
# what transformers would take in their place is something else
UNUSUAL = {"rms_norm_eps": 1e-2, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}
SETTINGS = ("config.json", "adapter_config.json")
Scores = list[tuple[float, ...]]


@pytest.fixture(scope="module")
def kinds(tiny_folder, tmp_path_factory) -> dict[str, Path]:
    """Whole folders: weights in one file, in several, and an adapter."""
    own = tmp_path_factory.mktemp("kinds")
    plain = shutil.copytree(tiny_folder, own / "plain")
    edit_json(plain / "config.json", **UNUSUAL)
    sharded = shutil.copytree(plain, own / "sharded")
    (sharded / WEIGHTS).unlink()
    tiny_llama().save_pretrained(sharded, max_shard_size="100KB")
    edit_json(sharded / "config.json", **UNUSUAL)
    return {"plain": plain, "sharded": sharded, "adapter": adapter_of(plain, own / "adapter", lora_alpha=64, use_rslora=True)}


@pytest.fixture(scope="module")
def whole(kinds) -> dict[str, Scores]:
    found = {kind: scores(folder) for kind, folder in kinds.items()}
    assert not any(isinstance(own, str) for own in found.values()), found
    assert found["plain"] == found["sharded"] != found["adapter"]
    return found


@pytest.fixture
def check(kinds, whole, tmp_path) -> Callable[[str, str, bytes], None]:
    """Score a copy of a folder with another content in one of its files."""

    def check(kind: str, name: str, content: bytes) -> None:
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
        folder = shutil.copytree(kinds[kind], tmp_path / "model")
        (folder / name).write_bytes(content)
        found = scores(folder)
        if not isinstance(found, str) and found != whole[kind]:
            assert name in SETTINGS
            assert is_another_model(json.loads((kinds[kind] / name).read_text()), json.loads(content))

    return check


def scores(folder: Path) -> Scores | str:
    """Log-probabilities, the way that a comparison takes from a folder to them, or the sentence that refuses it."""

    def score() -> Scores:
        place = model_folder(str(folder))
        check_weights(place)
        tokenizer = load_tokenizer(place)
        if problem := check_vocabulary(tokenizer, place):
            return problem
        model = load_model(place, torch.float32, torch.device("cpu"))
        texts = encode_questions(QUESTIONS, tokenizer, limit=longest_text(model))
        return [result.logprobs for result in score_questions(model, tokenizer, QUESTIONS, per_token=False, texts=texts)]

    return said(score, folder)


def written(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


@pytest.mark.parametrize(("kind", "name"), [("plain", "config.json"), ("adapter", "adapter_config.json"), ("sharded", INDEX)])
@profile(6)
@given(data=st.data())
def test_settings_of_another_shape(kind, name, data, kinds, check):
    content = json.loads((kinds[kind] / name).read_text())
    change: Meaning = data.draw(misshapen(content))
    check(kind, name, written(change.value))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("plain", "config.json"), ("plain", "tokenizer_config.json"), ("sharded", INDEX), ("adapter", "adapter_config.json")],
)
@profile(5)
@given(data=st.data())
def test_damaged_settings(kind, name, data, kinds, check):
    check(kind, name, data.draw(damaged((kinds[kind] / name).read_bytes())).content)


@pytest.mark.parametrize(("kind", "name"), [("plain", WEIGHTS), ("adapter", "adapter_model.safetensors")])
@profile(6)
@given(data=st.data())
def test_damaged_headers(kind, name, data, kinds, check):
    content = (kinds[kind] / name).read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    change: Bytes = data.draw(damaged(content[:size]))
    check(kind, name, change.content + content[size:])


@pytest.mark.parametrize(("kind", "name"), [("plain", WEIGHTS), ("sharded", "model-00002-of-00003.safetensors")])
@profile(2)
@given(data=st.data())
def test_files_that_were_cut_off_or_go_on(kind, name, data, kinds, check):
    content = (kinds[kind] / name).read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    check(kind, name, content[:length])
    check(kind, name, content + content[:length] + b"\0")


@profile(6)
@given(data=st.data())
def test_a_tokenizer_of_another_shape(data, kinds, check):
    content = json.loads((kinds["plain"] / "tokenizer.json").read_text())
    within = [path for path in places(content) if path[0] in ("added_tokens", "post_processor", "truncation", "padding")]
    check("plain", "tokenizer.json", written(data.draw(misshapen(content, [*within, ("model",), ("version",)])).value))
