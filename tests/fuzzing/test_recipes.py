"""Damaged recipes are refused in a sentence, or ask for what the whole one does wherever they were not touched."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.mutations import ENCODINGS, NEWLINES, at, damaged, misshapen, profile, said
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request

RECIPE = """# A small comparison.
model: sandbox:model
dtype: float32
topics:
  bio: {forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio], max_length: 64}
  cyber:
    forget: sandbox:corpora:cyber-forget
    retain: sandbox:corpora:retain
benchmarks:
  wmdp: {source: "sandbox:wmdp", newlines: 1}
  mmlu: {source: "sandbox:mmlu"}
methods:
  rmu: {layer: 3, alpha: 3.015, lr: 1.5e-2, steps: 4, batch_size: 4, max_length: 64, layers: [2, 3]}
  late: {method: npo, lr: 0.001, beta: 0.1, steps: 4, batch_size: 4, adapter: lora}
checkpoints: {retrain: "sandbox:retrained"}
controls:
  noise: rmu
seeds: [0, 7]
limit: 5
trainer: {precision: 32-true, gradient_clip_val: 1.0, deterministic: false}
tune:
  keep_at_least: 0.75
  spaces: {rmu: {lr: {log: [1.0e-3, 2.0e-2]}, alpha: [1, 2.5]}}
"""
CONTENT: dict[str, Any] = yaml.safe_load(RECIPE)


def read(file: Path) -> dict[str, Any] | str:
    """All that a recipe file says, or the sentence that refuses it."""

    def load() -> dict[str, Any]:
        recipe = load_recipe(file)
        again = load_recipe(yaml.safe_load(recipe.to_yaml()))
        assert again.to_yaml() == recipe.to_yaml()
        return recipe.model_dump(mode="json")

    return said(load, file.parent)


@pytest.fixture
def planned(tmp_path, tmp_path_factory):
    """The identity of each cell that a recipe asks for, or the sentence that refuses it."""
    cache = tmp_path_factory.getbasetemp() / "fuzzing-cache"

    def plan(file: Path) -> dict[str, str] | str:
        def identities() -> dict[str, str]:
            recipe = load_recipe(file)
            comparison = prepare(Request(recipe=recipe, out=tmp_path / "run", cache=cache, device="cpu"))
            return {str(job.key(name)): identity for job in comparison.jobs for name, identity in job.cells.items()}

        return said(identities, tmp_path)

    return plan


@profile(30)
@given(data=st.data())
def test_damaged_bytes(data, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    whole = read(file)
    assert not isinstance(whole, str), whole
    file.write_bytes(data.draw(damaged(RECIPE.encode())).content)
    found = read(file)
    if isinstance(found, str):
        assert str(file) in found or "The name '" in found or "Two rows" in found


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_encodings(encoding, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    whole = read(file)
    file.write_bytes(RECIPE.replace("small", "klein, größer").encode(encoding, errors="replace"))
    found = read(file)
    assert isinstance(found, str) or found == whole


@pytest.mark.parametrize("newline", NEWLINES)
def test_other_newlines(newline, tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    whole = read(file)
    file.write_bytes(RECIPE.replace("\n", newline).encode())
    assert read(file) == whole


@pytest.mark.parametrize("form", ["yaml", "json"])
@profile(30)
@given(data=st.data())
def test_values_of_another_shape(form, data, tmp_path):
    """What was not touched stays as it was; a truth value is never taken for a number."""
    file = tmp_path / "small.yaml"
    file.write_text(RECIPE)
    whole = read(file)
    change = data.draw(misshapen(CONTENT))
    file.write_text(
        yaml.safe_dump(change.value, sort_keys=False, allow_unicode=True) if form == "yaml" else json.dumps(change.value)
    )
    found = read(file)
    if isinstance(found, str):
        return
    parts = change.path[: -1 if change.kind in ("drop", "rename", "reorder", "repeat") else None]
    assert without(found, change.path[:1]) == without(whole, change.path[:1])
    if parts and change.path[0] in found:
        assert without(found[change.path[0]], parts[1:]) == without(whole[change.path[0]], parts[1:])


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A nested value with nothing at a place in it, or None where the place is all of it."""
    if not path:
        return None
    own = copy.deepcopy(value)
    try:
        at(own, path[:-1])[path[-1]] = None
    except (KeyError, IndexError, TypeError):
        return None
    return own


NUMBERS = (("methods", "rmu", "lr"), ("methods", "rmu", "layers", 0), ("seeds", 1), ("trainer", "gradient_clip_val"))


@pytest.mark.parametrize("path", NUMBERS, ids=str)
@pytest.mark.parametrize("value", [True, False, float("inf"), float("nan")])
def test_what_nobody_means_by_a_number(path, value, planned, tmp_path):
    content = copy.deepcopy(CONTENT)
    at(content, path[:-1])[path[-1]] = value
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(content))
    assert isinstance(planned(file), str)


@pytest.fixture
def whole(planned, tmp_path) -> dict[str, str]:
    """What the untouched recipe plans, once for all mutations."""
    file = tmp_path / "whole.yaml"
    file.write_text(RECIPE)
    found = planned(file)
    assert not isinstance(found, str), found
    file.unlink()
    return found


@profile(3)
@given(data=st.data())
def test_what_is_planned(data, planned, whole, tmp_path):
    """Cells that a change does not concern keep their identities; nothing is written."""
    file = tmp_path / "small.yaml"
    change = data.draw(misshapen(CONTENT))
    file.write_text(yaml.safe_dump(change.value, sort_keys=False))
    found = planned(file)
    if not isinstance(found, str) and change.path[0] in ("methods", "benchmarks", "checkpoints") and len(change.path) > 1:
        own = str(change.path[1])
        other = {key: identity for key, identity in whole.items() if own not in key and "noise" not in key}
        assert other.items() <= found.items()
