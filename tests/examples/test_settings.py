"""The searches for settings, on a few updates and questions of the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.sandbox_search.search import TRIALS, half
from examples.settings import best_of, grid, rows_of, run, summary, table
from unlearnbench.compare import read_leaderboard
from unlearnbench.plugins import find_plugin
from unlearnbench.recipe import load_recipe
from unlearnbench.specs import resolve_options


def test_grid_is_every_combination():
    assert grid({"lr": 1.0}, layer=[3, 4], alpha=[1.0]) == [
        {"lr": 1.0, "layer": 3, "alpha": 1.0},
        {"lr": 1.0, "layer": 4, "alpha": 1.0},
    ]


def test_methods_get_the_same_number_of_trials():
    assert {method: len(own) for method, own in TRIALS.items()} == dict.fromkeys(("rmu", "llmu", "scrub", "ssd"), 8)
    for method, own in TRIALS.items():
        for options in own:
            resolve_options(find_plugin("method", method).method, options, method)
    with pytest.raises(ValueError, match=r"the same number of trials, not \[1, 2\]"):
        rows_of({"rmu": [{}], "ssd": [{}, {}]})


def test_shipped_settings_are_those_that_the_search_chose():
    """The bold rows of the kept table, read back, are the sandbox recipe's."""
    shipped = load_recipe("sandbox").methods
    kept = (Path(__file__).parents[2] / "examples" / "sandbox_search" / "table.md").read_text()
    chosen = {line.split("**")[1] for line in kept.splitlines() if line.startswith("| **")}
    assert len(chosen) == 4
    for name in chosen:
        method, _, number = name.partition("-")
        assert shipped[method] == TRIALS[method][int(number) - 1]


def test_search_end_to_end(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
    trials = {
        "rmu": grid(
            {"layer": 3, "coefficient": 200.0, "alpha": 1.0, "batch_size": 8, "max_length": 64}, lr=[1e-6, 5e-2], steps=[6]
        ),
        "ssd": grid({"steps": 3, "batch_size": 4, "max_length": 64}, alpha=[1e9, 0.1]),
    }
    recipe = load_recipe("sandbox")
    benchmarks = {name: recipe.benchmarks[name] for name in ("wmdp", "mmlu")}
    run(recipe.model_copy(update={"methods": rows_of(trials), "benchmarks": benchmarks, "limit": 10}), tmp_path)
    first, second, whole = half(tmp_path, 0), half(tmp_path, 1), read_leaderboard(tmp_path)
    row = {
        board: next(r for r in own.rows if r.variant == "rmu-2") for board, own in (("a", first), ("b", second), ("w", whole))
    }
    scores = {board: own.scores["mmlu"] for board, own in row.items()}
    assert (scores["a"].n, scores["b"].n, scores["w"].n) == (35, 35, 70)
    assert scores["a"].value + scores["b"].value == pytest.approx(2 * scores["w"].value, abs=1e-5)
    assert summary(first, "rmu-1")[0] == 0.0  # a learning rate that does nothing forgets nothing
    best = best_of(trials, first)
    lines = table(trials, first, second).splitlines()
    assert len(lines) == 2 + 4
    assert [line.split(" | ")[0] for line in lines if "**" in line] == [f"| **{name}**" for name in best.values()]
    assert lines[2].split(" | ")[1] == "lr 1e-06"
    assert lines[4].split(" | ")[1] == "alpha 1e+09"
    assert not list(tmp_path.rglob("delta.safetensors"))
