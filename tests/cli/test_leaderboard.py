"""`unlearnbench leaderboard` and what compare prints of ranks and verdicts, on real models."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unlearnbench.runs.folder import record_checksum


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, cache: Path) -> Path:
    """The sandbox's model, its copy, an untrained one and one that answers A to everything, compared."""
    from safetensors.torch import load_file, save_file

    always_a = tmp_path_factory.mktemp("models") / "always-a"
    shutil.copytree(tiny_folder, always_a)
    weights = load_file(always_a / "model.safetensors")
    weights["model.norm.weight"].zero_()  # every logit is 0, and the first of equals is A
    save_file(weights, always_a / "model.safetensors", metadata={"format": "pt"})
    folder = tmp_path_factory.mktemp("runs") / "models"
    line = [sys.executable, "-m", "unlearnbench", "compare", "--methods", "none", "--benchmarks", "wmdp,mmlu"]
    for name, path in (("copy", "sandbox:model"), ("untrained", tiny_folder), ("always-a", always_a)):
        line += ["--checkpoint", f"{name}={path}"]
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    outcome = subprocess.run([*line, "--out", str(folder)], capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return folder


def rows_of(outcome) -> dict[str, dict]:
    return {row["variant"]: row for row in json.loads(outcome.out)["rows"]}


def test_models_that_know_nothing_are_not_ranked(cli, models):
    rows = rows_of(cli("leaderboard", models, "--format", "json"))
    assert {name: (row["verdict"], row["rank"]) for name, row in rows.items()} == {
        "none": (None, None),
        "retrain": ("reference", None),
        "copy": ("no-effect", 1),
        "untrained": ("collapsed", None),
        "always-a": ("collapsed", None),
    }
    assert rows["copy"]["summary"]["forget"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": None}
    assert any(one["rule"].startswith("answers A to") for one in rows["always-a"]["evidence"])
    assert rows["always-a"]["evidence"][0]["value"] < rows["always-a"]["evidence"][0]["threshold"]


def test_leaderboard_is_what_compare_wrote(cli, models):
    shown = json.loads(cli("leaderboard", models, "--format", "json").out)
    assert shown == json.loads((models / "leaderboard.json").read_text())


def test_accuracy_of_one_has_an_interval(cli, models):
    wmdp = rows_of(cli("leaderboard", models, "--format", "json"))["none"]["scores"]["wmdp"]
    assert 0.95 < wmdp["low"] < wmdp["value"]


def test_explain_works_the_table_out(cli, models):
    said = cli("leaderboard", models, "--explain").out
    assert "F = mean over topics of clip(1 - |score - ideal| / |base - ideal|, 0, 1); the ideal is what retrain scores" in said
    assert "copy: rank 1, no-effect" in said
    assert "always-a: not ranked, collapsed" in said
    assert "F = mean of bio .000, cyber .000, chem .000 = .000 (.000–.000)" in said
    assert "verdict: upper end of K is near chance: ." in said
    assert "against none: McNemar on wmdp: p 1; McNemar on mmlu: p 1" in said


def test_formula_is_in_the_help(cli):
    said = " ".join(cli("leaderboard", "--help").out.split())
    assert "mean over topics of 1 - |score - ideal| / |base - ideal|" in said
    assert "--explain" in said


def test_rank_by_and_damage_margin(cli, models):
    rows = rows_of(cli("leaderboard", models, "--format", "json", "--rank-by", "mmlu", "--damage-margin", "0.2"))
    assert rows["copy"]["rank"] == 1
    wrong = cli("leaderboard", models, "--rank-by", "mmlo")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Unknown figure in --rank-by 'mmlo'. Did you mean 'mmlu'? Available: forget, keep, mmlu, score, wmdp." in wrong.err
    wrong = cli("leaderboard", models, "--damage-margin", "5")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--damage-margin takes a share from 0 to below 1, as in 0.05; got 5." in wrong.err


def test_compare_refuses_before_it_computes(cli, tmp_path):
    wrong = cli("compare", "--methods", "none", "--limit", "2", "--rank-by", "mmlo", "--out", tmp_path / "run")
    assert wrong.code == 2
    assert not (tmp_path / "run").exists()


def test_settings_of_compare_are_those_of_its_leaderboard(cli, tmp_path):
    out = tmp_path / "run"
    arguments = ("--limit", "3", "--benchmarks", "wmdp,mmlu", "--out", out)
    assert cli("compare", "--methods", "none", *arguments, "--damage-margin", "0.2", "--rank-by", "keep").code == 0
    settings = json.loads(cli("leaderboard", out, "--format", "json").out)["settings"]
    assert (settings["rank_by"], settings["damage_margin"]) == ("keep", 0.2)


def test_csv_is_for_programs(cli, models):
    lines = list(csv.DictReader(io.StringIO(cli("leaderboard", models, "--format", "csv", "--parts").out)))
    assert [line["variant"] for line in lines] == ["none", "retrain", "copy", "untrained", "always-a", "chance"]
    assert {"wmdp/bio low", "mmlu/virology high", "verdict"} <= set(lines[0])


def test_cells_of_different_identity_are_refused(cli, models, tmp_path):
    """Somebody puts a cell of another comparison into the folder."""
    folder = tmp_path / "run"
    shutil.copytree(models, folder)
    cell = next((folder / "cells" / "copy" / "mmlu").glob("*.json"))
    record = json.loads(cell.read_text())
    record["provenance"]["limit"] = 7
    record["checksum"] = record_checksum(record)
    cell.write_text(json.dumps(record))
    outcome = cli("leaderboard", folder)
    assert (outcome.code, outcome.out) == (2, "")
    assert "none/mmlu/0 and copy/mmlu/0 cannot stand in one table: they differ in 'limit' (None against 7)" in outcome.err


def test_damaged_record_is_said_to_be(cli, models, tmp_path):
    """A figure that somebody changed is shown by nothing."""
    folder = tmp_path / "run"
    shutil.copytree(models, folder)
    cell = next((folder / "cells" / "copy" / "mmlu").glob("*.json"))
    cell.write_text(json.dumps({**json.loads(cell.read_text()), "value": 0.5}))
    for command in (
        ("leaderboard", folder),
        ("show", folder, "copy/mmlu/0"),
        ("report", folder, "--out", tmp_path / "report.html"),
    ):
        outcome = cli(*command)
        assert (outcome.code, outcome.out) == (2, "")
        assert f"{cell} is damaged, was changed, or is the record of another cell; run the comparison again" in outcome.err


def test_damaged_items_are_said_to_be(cli, models, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(models, folder)
    items = next((folder / "cells" / "copy" / "mmlu").glob("*.parquet"))
    items.write_bytes(items.read_bytes()[:200])
    outcome = cli("leaderboard", folder)
    assert (outcome.code, outcome.out) == (2, "")
    assert "The items of copy/mmlu/0 cannot be read" in outcome.err
    assert "Traceback" not in outcome.err


def test_leaderboard_needs_no_torch(models):
    code = (
        "import sys; sys.argv[1:] = ['leaderboard', sys.argv[1], '--explain']\n"
        "from unlearnbench.cli import main\n"
        "main()\n"
        "heavy = {'torch', 'lightning', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code, str(models)], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_reference_is_chosen_when_the_table_is_shown(cli, models):
    """Rows that are scored already need no model again to be read against one of them."""
    board = json.loads(cli("leaderboard", models, "--format", "json", "--reference", "untrained").out)
    rows = {row["variant"]: row for row in board["rows"]}
    assert board["reference"] == ["untrained"]
    assert (rows["untrained"]["verdict"], rows["untrained"]["rank"]) == ("reference", None)
    assert rows["untrained"]["summary"]["forget"]["value"] == 1.0
    assert rows["copy"]["summary"]["forget"]["value"] == 0.0
    assert board["columns"][0]["ideal"] == rows["untrained"]["columns"]["wmdp"]["value"]
    chance = json.loads(cli("leaderboard", models, "--format", "json", "--reference", "chance").out)
    assert (chance["reference"], chance["columns"][0]["ideal"]) == ([], 0.25)
    assert json.loads((models / "leaderboard.json").read_text())["reference"] == ["retrain"]  # the recipe's


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ["untraned"],
            "Unknown row in --reference 'untraned'. Did you mean 'untrained'? Available: always-a, copy, retrain, untrained.",
        ),
        (["none"], "Unknown row in --reference 'none'."),
        (["chance", "copy"], "--reference takes rows or `chance`, not both; got chance, copy."),
    ],
)
def test_reference_that_is_none(cli, models, names, said):
    outcome = cli("leaderboard", models, *(part for name in names for part in ("--reference", name)))
    assert outcome.code == 2
    assert said in outcome.err
