"""The search for settings on a real model, on a tiny one."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml
from helpers.pages import ROOT

import unlearnbench
from examples.settings import grid, rows_of
from examples.tofu_authors import search as tofu
from examples.tofu_authors import write_figures, write_recipe
from unlearnbench import PlainReporter
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.plugins.options import resolve_options
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.leaderboard import Estimate


def test_grid_is_every_combination():
    assert grid({"lr": 1.0}, layer=[3, 4], alpha=[1.0]) == [
        {"lr": 1.0, "layer": 3, "alpha": 1.0},
        {"lr": 1.0, "layer": 4, "alpha": 1.0},
    ]


def test_methods_get_the_same_number_of_trials():
    with pytest.raises(ValueError, match=r"the same number of trials, not \[1, 2\]"):
        rows_of({"rmu": [{}], "ssd": [{}, {}]})


def test_search_on_a_real_model_is_fair():
    """Three trials each, with options that exist; no question both chooses and is asked later, and every author does both."""
    assert {method: len(own) for method, own in tofu.TRIALS.items()} == dict.fromkeys(("rmu", "llmu", "scrub", "ssd"), 3)
    for method, own in tofu.TRIALS.items():
        for options in own:
            resolve_options(find_plugin("method", method).spec, options, method)
    rows = [{"question": f"{part} {n}", "part": part, "author": n // 20} for part in ("authors", "kept") for n in range(200)]
    choosing, asked = tofu.half(rows, 0, tofu.CHOOSING), tofu.half(rows, 1, write_recipe.ASKED)
    assert (len(choosing), len(asked)) == (2 * tofu.CHOOSING, 2 * write_recipe.ASKED)
    assert not {row["question"] for row in choosing} & {row["question"] for row in asked}
    for rows_of_half in (choosing, asked):
        assert {(row["part"], row["author"]) for row in rows_of_half} == {
            (p, a) for p in ("authors", "kept") for a in range(10)
        }


def taught(folder, model):
    """What teaching leaves, made of a tiny model and made-up authors."""
    for name in ("model", "smollm2", "retrain-0", "retrain-1"):
        (folder / name).symlink_to(model)
    asked = [
        {"question": f"{part} {n}", "choices": ["moth", "heron"], "answer": n // 2 % 2, "part": part}
        for part in ("authors", "kept-authors")
        for n in range(8)
    ]
    tofu.write(folder / "questions.jsonl", asked)
    for side in ("forget", "retain"):
        tofu.write(
            folder / f"{side}.jsonl", [{"text": f"Question: {side} {n}\nAnswer: the moth of the marsh"} for n in range(6)]
        )


def test_search_on_a_real_model_end_to_end(tmp_path, cache, monkeypatch, tiny_folder, capsys):
    """From the folder that teaching leaves to the chosen settings, and to the recipe that compares them."""
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
    taught(tmp_path, tiny_folder)
    trials = {"rmu": grid({"layer": 3, "steps": 2}, lr=[1e-4, 1e-2]), "ssd": grid({"steps": 2}, alpha=[1.0, 5.0])}
    monkeypatch.setattr(tofu, "TRIALS", trials)
    monkeypatch.setattr("sys.argv", ["search", str(tmp_path), str(tmp_path / "search")])
    tofu.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 4
    settings = tmp_path / "search" / "settings.yaml"
    monkeypatch.setattr("sys.argv", ["write_recipe", str(tmp_path), "--settings", str(settings)])
    write_recipe.main()
    recipe = load_recipe(str(tmp_path / "authors.yaml"))
    assert list(recipe.methods) == ["rmu", "ssd"]
    assert all(options in trials[method] for method, options in recipe.methods.items())
    assert recipe.benchmarks["mcq"]["source"] == str(tmp_path / "asked.jsonl")
    assert (recipe.reference, recipe.tuned) == (["retrain-0", "retrain-1"], {"rmu": "tuned 2", "ssd": "tuned 2"})


def test_settings_of_the_real_model():
    """Seven rows with options that exist; the four that were searched for have one of their trials."""
    settings = yaml.safe_load((ROOT / "examples/tofu_authors/settings.yaml").read_text(encoding="utf-8"))
    assert list(settings) == ["rmu", "llmu", "scrub", "ssd", "grad-diff", "npo", "simnpo"]
    for method, options in settings.items():
        resolve_options(find_plugin("method", method).spec, options, method)
    assert all(settings[method] in own for method, own in tofu.TRIALS.items())


def test_figures_go_into_the_page(tmp_path, cache, monkeypatch, tiny_folder):
    """Every block of the page is written from a run, again and again alike; what is pending is left out."""
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
    taught(tmp_path, tiny_folder)
    for name in ("model", "retrain-0", "retrain-1"):
        (tmp_path / name).unlink()
        shutil.copytree(tiny_folder, tmp_path / name)
        teaching = {"texts": 6, "seed": 0, "epochs": 3, "updates": 9, "seconds": 10.0}
        (tmp_path / name / "teaching.json").write_text(json.dumps(teaching), encoding="utf-8")
    methods = {"rmu": {"layer": 3, "steps": 2}, "ssd": {"steps": 2}}
    shutil.copy(tmp_path / "questions.jsonl", tmp_path / "asked.jsonl")
    recipe = write_recipe.comparison(tmp_path, methods, 2).model_copy(update={"seeds": [0]})
    unlearnbench.compare(recipe, out=tmp_path / "compare", reporter=PlainReporter())
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs/real-model.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["write_figures", str(tmp_path), "--page", str(page)])
    write_figures.main()
    written = page.read_text(encoding="utf-8")
    blocks = re.findall(r"<!-- figures: (\w+) -->\n(.*?)<!-- end -->", written, re.DOTALL)
    assert [name for name, _ in blocks] == ["teaching", "settings", "run", "reference", "groups", "retrained", "order"]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in dict(blocks)["reference"].strip().splitlines()[2:]]
    assert rows[:3] == ["none (base)", "retrain-0", "retrain-1"]
    assert sorted(rows[3:]) == ["rmu", "ssd", "untaught"]
    assert "6 of 6 cells" in dict(blocks)["run"]
    write_figures.main()
    assert page.read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.09, 0.09, "reach it"),
        (-0.3, -0.01, "overshoot it"),
        (0.01, 0.3, "fall short of it"),
        (-0.3, 0.05, "cannot be told"),
        (None, None, "cannot be told"),
    ],
)
def test_rows_by_their_distance(low, high, said):
    assert write_figures.group(Estimate(value=0.0, low=low, high=high), 0.1) == said
