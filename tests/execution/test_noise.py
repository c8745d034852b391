"""The control random-noise: same tensors, same norms, nothing learnt."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from unlearnbench.execution.noise import add_noise
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request


def test_noise_has_the_norm_of_the_change():
    torch.manual_seed(0)
    base = {"a": torch.randn(20, 30), "b": torch.randn(7)}
    changed = {"a": base["a"] + 0.3 * torch.randn(20, 30), "b": base["b"] + 2}
    noisy = add_noise(base, changed, seed=0)
    for name, tensor in changed.items():
        size = (tensor - base[name]).norm()
        assert (noisy[name] - base[name]).norm() == pytest.approx(float(size), rel=1e-5)
        cosine = ((tensor - base[name]) * (noisy[name] - base[name])).sum() / size**2
        assert abs(cosine) < 0.9
    again = add_noise({"b": base["b"]}, {"b": changed["b"]}, seed=0)
    assert torch.equal(again["b"], noisy["b"])  # whatever else changed
    assert not torch.equal(add_noise(base, changed, seed=1)["a"], noisy["a"])


def test_noise_in_bfloat16():
    base = {"a": torch.ones(64, 64, dtype=torch.bfloat16)}
    noisy = add_noise(base, {"a": base["a"] * 1.5}, seed=0)["a"]
    assert noisy.dtype == torch.bfloat16
    assert (noisy.float() - 1).norm() == pytest.approx(32, rel=0.01)


RMU = (
    "compare",
    "--reference",
    "chance",
    "--methods",
    "rmu",
    "--set",
    "rmu.steps=3",
    "--limit",
    "4",
    "--benchmarks",
    "wmdp,mmlu",
)


def test_a_control_is_a_row_like_another(cli, tmp_path):
    """Two seeds of a very short RMU and their controls: rows of the table, deltas of the same tensors and norms."""
    out = tmp_path / "run"
    arguments = (*RMU, "--seeds", "0,1", "--control", "random-noise=rmu", "--out", out)
    outcome = cli(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    rows = {row["variant"]: row for row in json.loads(outcome.out)["rows"]}
    assert set(rows) == {"none", "rmu", "random-noise"}
    assert (rows["random-noise"]["method"], rows["random-noise"]["seeds"]) == ("random-noise", [0, 1])
    for seed in (0, 1):
        rmu, noise = (
            load_file(next((out / "deltas" / name).glob(f"seed-{seed}-*/delta.safetensors")))
            for name in ("rmu", "random-noise")
        )
        assert set(rmu) == set(noise)
        assert not any(torch.equal(rmu[name], noise[name]) for name in rmu)
    record = json.loads(next((out / "cells" / "random-noise" / "mmlu").glob("seed-1-*.json")).read_text())
    assert record["provenance"]["derived_from"] == "rmu"
    assert record["cost"]["trained_parameters"] == 3 * 128 * 384
    assert "random-noise" not in cli(*arguments).err.replace(str(out), "")  # nothing is computed again


def test_a_control_waits_for_its_row_in_whatever_process(cli, tmp_path):
    """Two jobs at a time, each in a process of its own: the control begins when its row has left its weights."""
    arguments = (*RMU, "--control", "a-noise=rmu", "--json")
    here = cli(*arguments, "--out", tmp_path / "here")
    there = cli(*arguments, "--out", tmp_path / "there", "--executor", "isolated", "--jobs", "2")
    assert (here.code, there.code) == (0, 0), there.err
    tables = [json.loads(outcome.out)["rows"] for outcome in (here, there)]
    for row in (row for rows in tables for row in rows):
        del row["cost"]
    assert tables[0] == tables[1]
    assert {row["variant"] for row in tables[0]} == {"none", "rmu", "a-noise"}


def test_a_control_follows_its_row(tmp_path):
    """Other options of the row are another control, and no control is its row."""

    def identities(layer: int) -> dict[str, str]:
        recipe = load_recipe("sandbox")
        recipe = recipe.model_copy(update={"methods": {"rmu": {"layer": layer}}, "controls": {"noise": "rmu"}})
        comparison = prepare(Request(recipe=recipe, out=tmp_path / "run", cache=tmp_path / "cache"))
        return {plan.job.variant: plan.job.identity for plan in comparison.jobs}

    three, five = identities(3), identities(5)
    assert three["none"] == five["none"]
    assert len({three["rmu"], three["noise"], five["rmu"], five["noise"]}) == 4
    assert identities(3) == three


def test_a_control_whose_row_left_nothing_fails_alone(cli, tmp_path):
    out = tmp_path / "run"
    assert cli(*RMU, "--keep-deltas", "none", "--out", out).code == 0
    outcome = cli(*RMU, "--control", "random-noise=rmu", "--out", out, "--json")
    assert outcome.code == 1
    board = json.loads(outcome.out)
    assert {row["variant"]: row["verdict"] for row in board["rows"]}["random-noise"] == "failed"
    assert "there is no delta of rmu, seed 0, to be like" in board["failures"][0]["error"]


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("random-noise=rmuu", "Unknown row for the control random-noise 'rmuu'. Did you mean 'rmu'?"),
        ("random-noise=none", "A control is like a row that changes weights."),
        ("rmu=rmu", "Two rows are called 'rmu'; give the control another name: --control OTHER=ROW."),
        ("random-noise", "--control takes NAME=ROW; got 'random-noise'."),
    ],
)
def test_controls_that_cannot_be(cli, tmp_path, control, said):
    outcome = cli(*RMU, "--control", control, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert said in outcome.err
    assert not (tmp_path / "run").exists()
