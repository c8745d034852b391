"""The recipe `sandbox`: every method of the package, with the settings that one search found for all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.plugins.registry import list_plugins
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.tuning import Tuning
from unlearnbench.tuning.choice import choose
from unlearnbench.tuning.searched_rows import plan_rows

KEPT = Path(__file__).parents[2] / "examples" / "sandbox" / "trials.json"


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("sandbox")


@pytest.fixture(scope="module")
def tuning():
    return Tuning.model_validate(json.loads(KEPT.read_text()))


def test_every_method_has_a_row(recipe):
    ours = {info.name for info in list_plugins("method") if info.distribution == "unlearnbench"}
    assert set(recipe.methods) == ours - {BASELINE}


def test_settings_are_those_that_the_search_chose(recipe, tuning):
    assert [row.row for row in tuning.rows] == list(recipe.methods)
    for row in tuning.rows:
        best = choose(row.trials, tuning.keep_at_least)
        assert best is not None, row.row
        assert (best.number, best.settings) == (row.chosen, row.settings), row.row
        assert {option: recipe.methods[row.row][option] for option in row.space} == row.settings, row.row


def test_search_was_the_same_for_every_method_and_is_the_recipes(recipe, tuning):
    """The same number of trials, and the spaces, constraint and seed that `make tune-sandbox` has today."""
    assert {len(row.trials) for row in tuning.rows} == {tuning.trials}
    assert (tuning.keep_at_least, tuning.seed) == (recipe.tune.keep_at_least, recipe.tune.seed)
    assert {row.name: row.written() for row in plan_rows(recipe)} == {row.row: row.space for row in tuning.rows}
