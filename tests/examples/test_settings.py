"""The searches for settings, on a few updates and questions of the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.sandbox_search import representations
from examples.sandbox_search.search import TRIALS, half
from examples.settings import best_of, grid, rows_of, run, summary, table
from examples.tofu_authors import search as tofu
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


def test_settings_of_methods_on_representations_are_those_of_their_table():
    """Four trials each, with options that exist; the bold ones are the recipe's."""
    trials, shipped = representations.TRIALS, load_recipe("sandbox").methods
    assert {method: len(own) for method, own in trials.items()} == dict.fromkeys(("adaptive-rmu", "rr", "elm", "tar"), 4)
    for method, own in trials.items():
        for options in own:
            resolve_options(find_plugin("method", method).method, options, method)
    kept = (Path(__file__).parents[2] / "examples" / "sandbox_search" / "representations.md").read_text()
    chosen = {line.split("**")[1] for line in kept.splitlines() if line.startswith("| **")}
    assert {name.rpartition("-")[0] for name in chosen} == set(trials)
    for name in chosen:
        method, _, number = name.rpartition("-")
        assert shipped[method] == trials[method][int(number) - 1]


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


def test_search_on_a_real_model_is_fair():
    """Three trials each, with options that exist; no question both chooses and reports, and every author does both."""
    assert {method: len(own) for method, own in tofu.TRIALS.items()} == dict.fromkeys(("rmu", "llmu", "scrub", "ssd"), 3)
    for method, own in tofu.TRIALS.items():
        for options in own:
            resolve_options(find_plugin("method", method).method, options, method)
    rows = [{"question": f"{part} {n}", "part": part, "author": n // 20} for part in ("authors", "kept") for n in range(200)]
    choosing, reporting = tofu.half(rows, 0, tofu.CHOOSING), tofu.half(rows, 1, tofu.REPORTING)
    assert (len(choosing), len(reporting)) == (2 * tofu.CHOOSING, 2 * tofu.REPORTING)
    assert not {row["question"] for row in choosing} & {row["question"] for row in reporting}
    for rows_of_half in (choosing, reporting):
        assert {(row["part"], row["author"]) for row in rows_of_half} == {
            (p, a) for p in ("authors", "kept") for a in range(10)
        }


def test_search_on_a_real_model_end_to_end(tmp_path, cache, monkeypatch, tiny_folder, capsys):
    """From the folder that teaching leaves to a recipe with the chosen settings."""
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
    (tmp_path / "model").symlink_to(tiny_folder)
    asked = [
        {"question": f"{part} {n}", "choices": ["moth", "heron"], "answer": n % 2, "part": part}
        for part in ("authors", "kept-authors")
        for n in range(8)
    ]
    tofu.write(tmp_path / "questions.jsonl", asked)
    for side in ("forget", "retain"):
        tofu.write(
            tmp_path / f"{side}.jsonl", [{"text": f"Question: {side} {n}\nAnswer: the moth of the marsh"} for n in range(6)]
        )
    trials = {"rmu": grid({"layer": 3, "steps": 2}, lr=[1e-4, 1e-2]), "ssd": grid({"steps": 2}, alpha=[1.0, 5.0])}
    monkeypatch.setattr(tofu, "TRIALS", trials)
    monkeypatch.setattr("sys.argv", ["search", str(tmp_path), str(tmp_path / "search")])
    tofu.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 4
    recipe = load_recipe(str(tmp_path / "search" / "authors.yaml"))
    assert list(recipe.methods) == ["rmu", "ssd"]
    for method, options in recipe.methods.items():
        assert {**options, "method": method} in [{"method": method, **own} for own in trials[method]]
    assert recipe.benchmarks["mcq"]["source"] == str(tmp_path / "questions.jsonl")
