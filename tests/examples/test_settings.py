"""The search for settings on a real model, on a tiny one."""

from __future__ import annotations

import pytest

from examples.settings import grid, rows_of
from examples.tofu_authors import search as tofu
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.plugins.options import resolve_options
from unlearnbench.plugins.registry import find_plugin


def test_grid_is_every_combination():
    assert grid({"lr": 1.0}, layer=[3, 4], alpha=[1.0]) == [
        {"lr": 1.0, "layer": 3, "alpha": 1.0},
        {"lr": 1.0, "layer": 4, "alpha": 1.0},
    ]


def test_methods_get_the_same_number_of_trials():
    with pytest.raises(ValueError, match=r"the same number of trials, not \[1, 2\]"):
        rows_of({"rmu": [{}], "ssd": [{}, {}]})


def test_search_on_a_real_model_is_fair():
    """Three trials each, with options that exist; no question both chooses and reports, and every author does both."""
    assert {method: len(own) for method, own in tofu.TRIALS.items()} == dict.fromkeys(("rmu", "llmu", "scrub", "ssd"), 3)
    for method, own in tofu.TRIALS.items():
        for options in own:
            resolve_options(find_plugin("method", method).spec, options, method)
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
        {"question": f"{part} {n}", "choices": ["moth", "heron"], "answer": n // 2 % 2, "part": part}
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
