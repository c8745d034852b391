"""`make demo-all`: one recipe with every method of the package."""

from __future__ import annotations

from examples.sandbox_search.roster import TRIALS
from examples.settings import rows_of
from unlearnbench.plugins import list_plugins
from unlearnbench.recipe import load_recipe

WITHOUT_ROW = {"none"}  # the baseline is always there


def test_every_method_has_a_row():
    ours = {info.name for info in list_plugins("method") if info.distribution == "unlearnbench"}
    assert set(load_recipe("sandbox-roster").methods) == ours - WITHOUT_ROW


def test_rows_of_the_default_comparison_are_the_same():
    roster, default = load_recipe("sandbox-roster"), load_recipe("sandbox")
    assert {name: roster.methods[name] for name in default.methods} == default.methods
    assert (roster.model, roster.topics, roster.benchmarks) == (default.model, default.topics, default.benchmarks)


def test_other_rows_are_trials_of_the_search():
    assert len(rows_of(TRIALS)) == 4 * len(TRIALS)
    methods = load_recipe("sandbox-roster").methods
    for name, trials in TRIALS.items():
        assert methods[name] in trials, name
