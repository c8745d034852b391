"""`--dry-run`: the plan and what it would take, and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from unlearnbench.cli.dry_run import _listed
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_manifest

ARGUMENTS = (
    "compare",
    "--reference",
    "chance",
    "--methods",
    "rmu",
    "--benchmarks",
    "wmdp,mmlu",
    "--set",
    "rmu.steps=6",
    "--limit",
    "4",
)


def test_plan_with_estimates(cli, tmp_path):
    outcome = cli(*ARGUMENTS, "--seeds", "0,1", "--dry-run", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "run").exists()
    assert "sandbox: sandbox:model in float32 on cpu" in outcome.out
    assert "rmu, seeds 0, 1 " in outcome.out
    assert "none, seed 0 " in outcome.out
    assert "3 jobs with 6 cells to compute; 0 finished." in outcome.out
    assert "12 updates on at most 73,728 tokens" in outcome.out  # 2 seeds of 6 updates of 16 + 16 texts of 192 tokens
    assert re.search(
        r"it takes about .* to unlearn, about .* to score; timed for a moment just now: rmu, wmdp, mmlu\.", outcome.out
    )
    assert "Nothing was written." in outcome.out


def test_what_is_finished_is_not_planned_again(cli, tmp_path):
    out = tmp_path / "run"
    assert cli(*ARGUMENTS, "--out", out).code == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    plan = json.loads(cli(*ARGUMENTS, "--seeds", "0,1", "--dry-run", "--json", "--out", out).out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    done, left = plan["jobs"][1:]
    assert (done["variant"], done["seed"], done["finished"], done["due"]) == ("rmu", 0, ["wmdp", "mmlu"], [])
    assert (done["updates"], done["items"], done["memory_bytes"], done["delta_bytes"]) == (0, 0, None, 0)
    assert (left["seed"], left["due"], left["updates"], left["trained"]) == (1, ["wmdp", "mmlu"], 6, 3 * 128 * 384)
    assert left["items"] == 3 * 4 + plan_subjects(out) * 4
    assert left["delta_bytes"] == 3 * 128 * 384 * 4
    of_other_seed = json.loads(next((out / "cells" / "rmu" / "mmlu").glob("*.json")).read_text())["cost"]
    assert left["unlearn_seconds"] == of_other_seed["unlearn_seconds"]
    assert 0 < left["evaluate_seconds"] < plan["total"]["evaluate_seconds"] + 0.1
    assert (done["unlearn_seconds"], done["evaluate_seconds"]) == (0, 0)
    assert plan["total"]["memory_bytes"] == left["memory_bytes"] > left["delta_bytes"]
    next((out / "cells" / "rmu" / "mmlu").glob("*.json")).unlink()
    again = json.loads(cli(*ARGUMENTS, "--dry-run", "--json", "--out", out).out)["jobs"][1]
    assert (again["due"], again["updates"], again["delta_bytes"]) == (["mmlu"], 0, 0)  # its delta is there


def test_time_is_told_from_the_cache_or_a_trial(cli, tmp_path):
    """The untouched model's scores are in the cache; of a row that was never run, three updates are timed, and kept nowhere."""
    cache, words = tmp_path / "cache", ("--benchmarks", "wmdp", "--limit", "4", "--json")
    assert cli("evaluate", "sandbox:model", *words, "--out", tmp_path / "base", "--cache", cache).code == 0
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    plan = cli(
        "compare", "--reference", "chance", "--methods", "rmu", *words, "--dry-run", "--out", tmp_path / "run", "--cache", cache
    )
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
    base, rmu = json.loads(plan.out)["jobs"]
    spent = json.loads(next((tmp_path / "base" / "cells").rglob("*.json")).read_text())["cost"]["evaluate_seconds"]
    assert (base["due"], base["evaluate_seconds"]) == (["wmdp"], 0)
    assert rmu["evaluate_seconds"] == spent
    assert rmu["unlearn_seconds"] > 0
    assert "unlearning" not in plan.err


def test_what_failed_is_not_finished(cli, tmp_path):
    out = tmp_path / "run"
    assert cli(*ARGUMENTS, "--out", out).code == 0
    run = RunFolder(out)
    identity = read_manifest(run).rows[1].cells["rmu/mmlu/0"]
    key = CellKey(variant="rmu", benchmark="mmlu", seed=0)
    run.write_cell(CellResult(key=key, identity=identity, status="failed", error="no room"), [])
    told = cli(*ARGUMENTS, "--dry-run", "--out", out).out
    assert "0 jobs with 0 cells to compute; 3 finished, 1 failed (--retry-failed computes them again)." in told
    assert "mmlu failed" in told
    plan = json.loads(cli(*ARGUMENTS, "--dry-run", "--json", "--out", out).out)
    assert (plan["jobs"][1]["finished"], plan["jobs"][1]["failed"], plan["total"]["failed"]) == (["wmdp"], ["mmlu"], 1)
    again = json.loads(cli(*ARGUMENTS, "--retry-failed", "--dry-run", "--json", "--out", out).out)["jobs"][1]
    assert (again["failed"], again["due"], again["updates"]) == ([], ["mmlu"], 0)


def test_rows_that_take_the_same_time_are_timed_once(cli, tmp_path):
    """Learning rates do not tell; a batch does, and a coefficient of 0, which may leave out a term."""
    recipe = tmp_path / "many.yaml"
    rows = {
        "a": "lr: 1.0e-3",
        "b": "lr: 2.0e-3",
        "c": "lr: 1.0e-3, alpha: 3.0",
        "d": "lr: 1.0e-3, batch_size: 2",
        "e": "lr: 1.0e-3, alpha: 0.0",
    }
    recipe.write_text(
        "model: sandbox:model\nseeds: [0, 1, 2, 4]\n"
        "topics: {bio: {forget: 'sandbox:corpora:bio-forget', retain: 'sandbox:corpora:retain'}}\n"
        "benchmarks: {wmdp: {source: 'sandbox:wmdp'}}\nlimit: 4\n"
        f"methods: {{{', '.join(f'{name}: {{method: rmu, layer: 3, steps: 6, {own}}}' for name, own in rows.items())}}}\n"
    )
    told = cli("compare", recipe, "--dry-run", "--out", tmp_path / "run")
    assert told.code == 0, told.err
    assert re.search(r"timed for a moment just now: a for 3 rows like it, d, e[,.]", told.out)  # wmdp may be in the cache
    assert "a, seeds 0, 1, 2, 4 " in told.out
    plan = json.loads(cli("compare", recipe, "--dry-run", "--json", "--out", tmp_path / "run").out)
    times = {job["variant"]: job["unlearn_seconds"] for job in plan["jobs"]}
    assert times["a"] == times["b"] == times["c"]
    assert len({times["a"], times["d"], times["e"]}) == 3
    assert len(plan["jobs"]) == 1 + 5 * 4


@pytest.mark.parametrize(
    ("seeds", "said"), [([7], "7"), ([0, 1], "0, 1"), ([2, 3, 4], "2 to 4"), ([0, 2, 3], "0, 2, 3"), ([3, 2, 1], "3, 2, 1")]
)
def test_seeds_as_people_write_them(seeds, said):
    assert _listed(seeds) == said


def plan_subjects(out) -> int:
    """How many parts mmlu has."""
    heads = json.loads((out / "plan.json").read_text())["benchmarks"]
    return len(next(head["parts"] for head in heads if head["name"] == "mmlu"))


def test_what_is_wrong_is_said_all_the_same(cli, tmp_path):
    outcome = cli(*ARGUMENTS, "--set", "rmu.layer=99", "--dry-run", "--out", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "There is no block 99" in outcome.err


@pytest.fixture
def with_checkpoint(tmp_path):
    """The sandbox with a finished model as a further row."""
    recipe = load_recipe("sandbox").model_copy(update={"checkpoints": {"retrain": "sandbox:model"}, "reference": []})
    (tmp_path / "checkpoint.yaml").write_text(recipe.to_yaml())
    return tmp_path / "checkpoint.yaml"


@pytest.mark.parametrize(("named", "rows"), [("rmu", {"none", "rmu"}), ("Retrain,rmu", {"none", "rmu", "retrain"})])
def test_checkpoints_of_a_recipe_are_rows_that_can_be_named(cli, tmp_path, with_checkpoint, named, rows):
    words = ("--methods", named, "--limit", "4", "--dry-run", "--json", "--out", tmp_path / "run")
    plan = cli("compare", with_checkpoint, *words)
    assert {job["variant"] for job in json.loads(plan.out)["jobs"]} == rows


def test_a_misspelt_checkpoint_is_recognized(cli, tmp_path, with_checkpoint):
    outcome = cli("compare", with_checkpoint, "--methods", "rmu,retrian", "--out", tmp_path / "run")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Unknown row 'retrian'. Did you mean 'retrain'?" in outcome.err


def test_a_search_is_announced(cli, tmp_path):
    rows = (
        "compare",
        "--methods",
        "none,rmu,ssd",
        "--benchmarks",
        "wmdp",
        "--limit",
        "4",
        "--out",
        tmp_path / "run",
        "--dry-run",
    )
    outcome = cli(*rows, "--tune", "3")
    assert outcome.code == 0, outcome.err
    assert "Before this, on the other half of the questions: 3 trials of rmu, ssd each." in outcome.err
    assert ": trials in at most 60 s of rmu, ssd each." in cli(*rows, "--tune-seconds", "60").err
    assert not (tmp_path / "run").exists()


def test_evaluate_has_a_plan_too(cli, tmp_path):
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "wmdp", "--limit", "4", "--dry-run", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "run").exists()
    assert "1 job with 1 cell to compute; 0 finished." in outcome.out
    assert "Nothing was written." in outcome.out


def test_memory_is_of_all_jobs_that_run_at_a_time(cli, tmp_path):
    def memory(*arguments: object) -> int:
        small = ("--benchmarks", "wmdp", "--set", "rmu.batch_size=2")
        plan = cli(*ARGUMENTS, *small, "--seeds", "0,1", "--dry-run", "--json", "--out", tmp_path / "run", *arguments)
        return json.loads(plan.out)["total"]["memory_bytes"]

    largest = memory()
    assert largest < memory("--executor", "isolated", "--jobs", "2") <= 2 * largest
