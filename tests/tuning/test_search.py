"""Searches end to end on a tiny random model that is asked about its own first answers, so that it knows them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from unlearnbench.execution.interim_scores import best_look
from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.records.recipe import Recipe, Topic
from unlearnbench.records.tuning import Look
from unlearnbench.runs.item_files import items_from_parquet
from unlearnbench.runs.reading import read_tuning

QUESTIONS = 24  # per part
WORDS = ["amber", "basil", "cedar", "dune", "ember", "fjord", "grove", "heath", "inlet", "jade", "kelp", "lagoon"]


@pytest.fixture(scope="session")
def knowing(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A folder with corpora, questions about `lore` and `craft` whose right answers are the tiny model's, and a recipe."""
    from unlearnbench.models.restorable import LoadedModel
    from unlearnbench.plugins.registry import find_plugin
    from unlearnbench.scoring.choice.log_likelihood import score_questions

    folder = tmp_path_factory.mktemp("knowing")
    for side, start in (("forget", 0), ("retain", 5)):
        texts = [" ".join(WORDS[(start + n + k * k) % len(WORDS)] for k in range(12)) for n in range(8)]
        (folder / f"{side}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows = [
        {"question": f"What is {part} {n} {WORDS[n % 12]}?", "choices": WORDS[n % 8 : n % 8 + 4], "answer": 0, "part": part}
        for part in ("lore", "craft")
        for n in range(QUESTIONS)
    ]
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    questions = find_plugin("benchmark", "mcq").spec.factory(source=str(file), scoring="letter").questions
    loaded = LoadedModel(str(tiny_folder), "float32", torch.device("cpu"))
    answers = score_questions(loaded.model, loaded.tokenizer, questions, per_token=False, progress=lambda _: None)
    rows = [{**row, "answer": answer.choice} for row, answer in zip(rows, answers, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = Recipe(
        name="knowing",
        model=str(tiny_folder),
        dtype="float32",
        topics={"lore": Topic(forget=str(folder / "forget.jsonl"), retain=str(folder / "retain.jsonl"), parts=["mcq/lore"])},
        benchmarks={"mcq": {"source": str(file), "scoring": "letter"}},
        methods={"ssd": {"steps": 2}, "rmu": {"steps": 2, "lr": 1e-3, "diagnostics": 0}},
    )
    (folder / "knowing.yaml").write_text(recipe.to_yaml())
    return folder


def settings_of(out: Path) -> dict[str, list[dict]]:
    tuning = read_tuning(out)
    assert tuning is not None
    return {row.row: [trial.settings for trial in row.trials] for row in tuning.rows}


def ids_of(cells: Path) -> set[str]:
    return {item.id for file in cells.rglob("*.parquet") for item in items_from_parquet(file.read_bytes())}


def test_a_tuned_comparison(cli, knowing, tmp_path):
    out = tmp_path / "run"
    recipe = knowing / "knowing.yaml"
    done = cli("compare", recipe, "--tune", 3, "--out", out, "--keep-deltas", "none")
    assert done.code == 0, done.err
    tuning = read_tuning(out)
    assert tuning is not None
    assert [len(row.trials) for row in tuning.rows] == [3, 3]
    assert tuning.split == {"mcq": {"lore": QUESTIONS // 2, "craft": QUESTIONS // 2}}
    ssd, rmu = tuning.rows
    assert ssd.trials[0].settings == {"alpha": 10.0, "dampening": 1.0}  # the published defaults come first
    assert rmu.trials[0].settings["layer"] == 4  # 7 of Zephyr's 32 blocks is no block of 6: the nearest that is searched
    chosen_on, reported_on = ids_of(out / "tuning" / "cells"), ids_of(out / "cells")
    assert len(chosen_on) == len(reported_on) == QUESTIONS
    assert chosen_on.isdisjoint(reported_on)
    board = json.loads((out / "leaderboard.json").read_text())
    assert {row["variant"]: row["tuned"] for row in board["rows"]} == {"none": None, "ssd": ssd.label, "rmu": rmu.label}
    assert all(label.startswith("tuned 3") for label in (ssd.label, rmu.label))
    compared = load_recipe(str(out / "recipe.yaml"))
    assert compared.half == "reporting"
    assert compared.methods["ssd"] == {"steps": 2, **ssd.settings}
    assert "(tuned 3" in (out / "leaderboard.md").read_text()
    page = (out / "report.html").read_text()
    assert all(f">{row.row} {trial.number}<" in page for row in tuning.rows for trial in row.trials)

    more = cli("tune", "ssd", "rmu", "--recipe", recipe, "--trials", 4, "--out", out)  # goes on: one trial more of each
    assert more.code == 0, more.err
    assert sorted(line.split(",")[0] for line in more.err.splitlines() if "unlearning (" in line) == [
        "rmu.trial-4",
        "ssd.trial-4",
    ]
    assert {name: own[:3] for name, own in settings_of(out).items()} == {
        row.row: [trial.settings for trial in row.trials] for row in tuning.rows
    }
    assert "chosen" in more.out
    shown = cli("leaderboard", out, "--trials", "--format", "markdown")
    assert shown.code == 0, shown.err
    assert "| ssd 4" in shown.out
    hurried = cli("tune", "ssd", "--recipe", recipe, "--tune-seconds", 0.001, "--out", out, "--json")  # one round is over that
    assert hurried.code == 0, hurried.err
    assert [row["label"].removesuffix(" (constraint not met)") for row in json.loads(hurried.out)["rows"]] == [
        "tuned 2 in 0.001 s"
    ]
    assert "unlearning (" not in hurried.err
    fewer = cli("tune", "--recipe", recipe, "--trials", 2, "--out", out, "--json")
    assert fewer.code == 0, fewer.err
    assert [len(row["trials"]) for row in json.loads(fewer.out)["rows"]] == [2, 2]
    none = cli("leaderboard", knowing, "--trials")
    assert none.code == 2
    assert "There was no search" in none.err


def test_a_trial_that_fails_is_a_result(cli, knowing, tmp_path):
    recipe = load_recipe(str(knowing / "knowing.yaml"))
    spaces = {
        "rmu": {"lr": [1e30], "layer": None, "coefficient": None, "alpha": None},  # diverges
        "ssd": {"alpha": [1.0, 3.0], "dampening": None},  # 3 selects nothing there and is refused before it runs
    }
    methods = {"ssd": {"steps": 2, "over": "all"}, "rmu": {**recipe.methods["rmu"], "layer": 3}}
    changed = recipe.model_copy(
        update={"methods": methods, "tune": recipe.tune.model_copy(update={"spaces": spaces, "seed": 1})}
    )
    (tmp_path / "failing.yaml").write_text(changed.to_yaml())
    done = cli("tune", "--recipe", tmp_path / "failing.yaml", "--trials", 4, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    tuning = read_tuning(tmp_path / "run")
    assert tuning is not None
    ssd, rmu = tuning.rows
    assert [trial.status for trial in rmu.trials] == ["diverged"] * 4
    assert rmu.label == "tuned 4 (no trial finished)"
    assert rmu.chosen is None
    assert {(trial.settings["alpha"], trial.status) for trial in ssd.trials} == {(1.0, "done"), (3.0, "failed")}
    assert all("selects nothing" in str(trial.error) for trial in ssd.trials if trial.status == "failed")
    assert ssd.settings == {"alpha": 1.0}


def test_a_killed_search_goes_on_as_if_nothing_had_happened(cli, knowing, tmp_path, cache):
    """And in processes of their own, two at a time, trials are the same."""
    arguments = ["tune", "ssd", "--recipe", str(knowing / "knowing.yaml"), "--trials", "4", "--out"]
    whole = cli(*arguments, tmp_path / "whole")
    assert whole.code == 0, whole.err
    out = tmp_path / "cut"
    command = [sys.executable, "-m", "unlearnbench", *arguments, str(out)]
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while not list(out.glob("tuning/cells/ssd.trial-3/**/*.json")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    again = cli(*arguments, out, "--executor", "isolated", "--jobs", 2)
    assert again.code == 0, again.err
    assert settings_of(out) == settings_of(tmp_path / "whole")
    before, after = read_tuning(tmp_path / "whole"), read_tuning(out)
    assert before is not None
    assert after is not None
    shares = [[(trial.forget, trial.keep) for trial in tuning.rows[0].trials] for tuning in (before, after)]
    assert shares[0] == shares[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "tune needs a budget"),
        (("--trials", "2", "--keep-at-least", "1.5"), "--keep-at-least takes a share from 0 to 1"),
        (("--tune-seconds", "-1"), "--tune-seconds takes a number of seconds above 0"),
        (
            ("--trials", "2", "--set", "ssd.alpha=1", "--set", "ssd.dampening=1"),
            "Nothing can be tuned: ssd has no search space",
        ),
    ],
)
def test_bad_input_of_tune(cli, knowing, tmp_path, arguments, sentence):
    out = tmp_path / "run"
    done = cli("tune", "ssd", "--recipe", knowing / "knowing.yaml", "--out", out, *arguments)
    assert done.code == 2
    assert sentence in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("spaces", "sentence"),
    [
        ("{sdd: {alpha: [1]}}", "Unknown row in tune.spaces 'sdd'. Did you mean 'ssd'"),
        ("{ssd: {alpha: {log: [0, 1]}}}", "begins above 0"),
        ("{ssd: {alpha: {linear: [-1, 1]}}}", "ssd.alpha takes float >= 0"),
        ("{ssd: {alhpa: [1]}}", "Unknown option of ssd 'alhpa'. Did you mean 'alpha'"),
    ],
)
def test_bad_spaces_in_a_recipe(cli, knowing, tmp_path, spaces, sentence):
    text = (knowing / "knowing.yaml").read_text().partition("\ntune:")[0]
    (tmp_path / "bad.yaml").write_text(f"{text}\ntune:\n  spaces: {spaces}\n")
    done = cli("tune", "ssd", "--recipe", tmp_path / "bad.yaml", "--trials", 2, "--out", tmp_path / "run")
    assert done.code == 2
    assert sentence in done.err
    assert not (tmp_path / "run").exists()


def test_keep_at_least_needs_trials(cli, knowing, tmp_path):
    done = cli("compare", knowing / "knowing.yaml", "--keep-at-least", ".9", "--out", tmp_path / "run")
    assert done.code == 2
    assert "add --tune N" in done.err


def test_the_best_weights_of_one_training(cli, knowing, tmp_path):
    """With one update between looks the run's own figures say which weights it must have kept."""
    recipe = knowing / "knowing.yaml"
    options = ("--methods", "rmu", "--set", "rmu.layer=3", "--set", "rmu.steps=4", "--set", "rmu.lr=3e-2")
    done = cli("compare", recipe, *options, "--evaluate-every", 1, "--keep-at-least", ".8", "--out", tmp_path / "best")
    assert done.code == 0, done.err
    [file] = (tmp_path / "best" / "cells" / "rmu" / "mcq").glob("*.json")
    provenance = json.loads(file.read_text())["provenance"]
    looks = [Look(**look) for look in provenance["looks"]]
    assert [look.update for look in looks] == [0, 1, 2, 3, 4]
    assert (looks[0].forget, looks[0].keep) == (0.0, 1.0)  # the model knows all that it is asked
    best = best_look(looks[1:], 0.8)
    assert provenance["best_update"] == best.update
    assert ids_of(tmp_path / "best" / "cells").isdisjoint(selection_ids(knowing))
    [manifest] = (tmp_path / "best" / "deltas" / "rmu").glob("*/manifest.json")
    kept = json.loads(manifest.read_text())["weights"]
    # the same training cut off there by its budget has the same weights
    cut = cli("compare", recipe, *options, "--set", f"rmu.steps={best.update}", "--out", tmp_path / "cut")
    assert cut.code == 0, cut.err
    [manifest] = (tmp_path / "cut" / "deltas" / "rmu").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["weights"] == kept


def selection_ids(knowing: Path) -> set[str]:
    from unlearnbench.plugins.registry import find_plugin

    benchmark = find_plugin("benchmark", "mcq").spec.factory(source=str(knowing / "questions.jsonl"), scoring="letter")
    assert benchmark.keep_half("selection")
    return {question.id for question in benchmark.questions}


def test_hopeless_trials_are_pruned_and_count(cli, knowing, tmp_path, monkeypatch):
    """From the second round on no trial is good enough here: S is at most 1."""
    monkeypatch.setattr("unlearnbench.tuning.search.floor", lambda trials, update: 1.1 if update == 2 else None)
    recipe = load_recipe(str(knowing / "knowing.yaml"))
    recipe = recipe.model_copy(update={"methods": {"rmu": {**recipe.methods["rmu"], "steps": 3}}})
    (tmp_path / "probed.yaml").write_text(recipe.to_yaml())
    arguments = ("tune", "--recipe", tmp_path / "probed.yaml", "--trials", 4, "--probe-every", 1, "--out", tmp_path / "run")
    done = cli(*arguments)
    assert done.code == 0, done.err
    tuning = read_tuning(tmp_path / "run")
    assert tuning is not None
    [rmu] = tuning.rows
    assert [trial.status for trial in rmu.trials] == ["done", "done", "pruned", "pruned"]
    assert [[look.update for look in trial.looks] for trial in rmu.trials] == [[0, 1, 2, 3]] * 2 + [[0, 1, 2]] * 2
    assert all("given up at update 2: S" in str(trial.error) for trial in rmu.trials[2:])
    assert rmu.label.startswith("tuned 4")
    assert rmu.chosen in (1, 2)


def test_a_search_that_sees_the_reference(cli, knowing, tmp_path):
    """F of a trial is then the distance from the reference; the label says what was seen, and the search is another one."""
    never_knew = tmp_path / "never-knew"
    recipe = load_recipe(str(knowing / "knowing.yaml"))
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(recipe.model)).save_pretrained(never_knew)
    AutoTokenizer.from_pretrained(recipe.model).save_pretrained(never_knew)
    recipe = recipe.model_copy(
        update={"methods": {"ssd": {"steps": 2}}, "checkpoints": {"retrain": str(never_knew)}, "reference": ["retrain"]}
    )
    tunings = {}
    for sees in (False, True):
        changed = recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"reference": sees})})
        file = tmp_path / f"{sees}.yaml"
        file.write_text(changed.to_yaml())
        done = cli("tune", "--recipe", file, "--trials", 3, "--out", tmp_path / str(sees))
        assert done.code == 0, done.err
        tunings[sees] = read_tuning(tmp_path / str(sees))
    blind, seeing = (tunings[sees].rows[0] for sees in (False, True))
    assert blind.search != seeing.search
    assert "against" not in blind.label
    assert seeing.label.startswith("tuned 3 against retrain")
    board = read_leaderboard(tmp_path / "True" / "tuning", in_passing=True)
    assert board.reference == ["retrain"]
    compared = cli("compare", tmp_path / "True.yaml", "--tune", 3, "--out", tmp_path / "True")
    assert "chosen with the score of retrain as the ideal" in " ".join(compared.out.split())
    compared = cli("compare", tmp_path / "False.yaml", "--tune", 3, "--out", tmp_path / "False")
    assert "chosen with chance as the ideal" in " ".join(compared.out.split())
    reference = next(row for row in board.rows if row.variant == "retrain").scores["mcq"].parts["lore"].value
    base = next(row for row in board.rows if row.variant == "none").scores["mcq"].parts["lore"].value
    for trial in seeing.trials:
        row = next(row for row in board.rows if row.variant == f"ssd.trial-{trial.number}")
        assert trial.forget == pytest.approx(
            max(0.0, 1 - abs(row.scores["mcq"].parts["lore"].value - reference) / abs(base - reference)), abs=1e-5
        )


@pytest.mark.parametrize(
    ("change", "needed"),
    [({}, "the recipe names none"), ({"controls": {"noise": "ssd"}, "reference": ["noise"]}, "noise is a row")],
)
def test_a_search_cannot_see_a_reference_that_is_not_there(cli, knowing, tmp_path, change, needed):
    recipe = load_recipe(str(knowing / "knowing.yaml"))
    changed = recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"reference": True}), **change})
    (tmp_path / "mine.yaml").write_text(changed.to_yaml())
    refused = cli("tune", "--recipe", tmp_path / "mine.yaml", "--trials", 2, "--out", tmp_path / "run")
    assert refused.code == 2
    assert needed in refused.err
    assert not (tmp_path / "run").exists()
