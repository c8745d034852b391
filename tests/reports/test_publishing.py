"""Sites, cards, verification and differences, on folders that nobody had to train."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from helpers.small_runs import IDENTITY, small_run

from unlearnbench.records.cells import CellKey
from unlearnbench.runs.folder import RunFolder, record_checksum


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = small_run(tmp_path_factory.mktemp("runs") / "one").root
    from unlearnbench.records.recipe import Recipe

    recipe = Recipe(name="small", model="a/model")
    plan = json.loads((root / "plan.json").read_text())
    plan["recipe"] = recipe.model_dump(mode="json")
    (root / "plan.json").write_text(json.dumps(plan))
    (root / "recipe.yaml").write_text(recipe.to_yaml())
    from unlearnbench.reports.run_files import write_leaderboard

    write_leaderboard(RunFolder(root))
    return root


@pytest.fixture
def run(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def items_path(run: Path, variant: str = "rmu", benchmark: str = "wmdp") -> Path:
    return RunFolder(run).items_path(CellKey(variant=variant, benchmark=benchmark, seed=0), IDENTITY)


def cell_path(run: Path) -> Path:
    return RunFolder(run).cell_path(CellKey(variant="rmu", benchmark="wmdp", seed=0), IDENTITY)


def remake(path: Path, **provenance: object) -> None:
    """A cell as another comparison would have written it."""
    cell = json.loads(path.read_text())
    cell["provenance"] |= provenance
    path.write_text(json.dumps({**cell, "checksum": record_checksum(cell)}))


def test_a_run_that_nobody_touched_adds_up(cli, run):
    outcome = cli("verify", run)
    assert (outcome.code, outcome.err) == (0, "")
    assert "the table follows from the per-item results" in outcome.out


def tamper_table(run: Path) -> None:
    path = run / "leaderboard.json"
    board = json.loads(path.read_text())
    next(row for row in board["rows"] if row["variant"] == "rmu")["summary"]["score"]["value"] += 0.01
    path.write_text(json.dumps(board))


def tamper_rank(run: Path) -> None:
    path = run / "leaderboard.json"
    board = json.loads(path.read_text())
    next(row for row in board["rows"] if row["variant"] == "rmu")["verdict"] = "forgot"
    path.write_text(json.dumps(board))


def tamper_cell(run: Path) -> None:
    cell = json.loads(cell_path(run).read_text())
    cell["value"] -= 0.1
    cell_path(run).write_text(json.dumps(cell))


def tamper_items(run: Path) -> None:
    table = pyarrow.parquet.ParquetFile(items_path(run)).read()
    scores = [1.0] * len(table)
    table = table.set_column(table.column_names.index("score"), "score", pyarrow.array(scores))
    pyarrow.parquet.write_table(table, items_path(run))


def drop_items(run: Path) -> None:
    table = pyarrow.parquet.ParquetFile(items_path(run)).read()
    pyarrow.parquet.write_table(table.slice(0, len(table) - 3), items_path(run))


def other_identity(run: Path) -> None:
    cell = json.loads(cell_path(run).read_text())
    cell["identity"] = "f" * 64
    cell_path(run).write_text(json.dumps(cell))


def other_recipe(run: Path) -> None:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "limit": 5}))


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (tamper_table, "rows[rmu].summary.score.value is"),
        (tamper_rank, "rows[rmu].verdict is forgot, and the items give"),
        (tamper_cell, "rmu/wmdp/0: value is"),
        (tamper_items, "is not that of the choice, first bio/"),
        (tamper_items, "their hash differs"),
        (drop_items, "rmu/wmdp/0: n is 30, and its items give 27"),
        (other_identity, "with identity ffffffffffffffff, not of the one that the plan names"),
        (other_recipe, "recipe.yaml is not the recipe of plan.json"),
        (lambda run: items_path(run).unlink(), "cannot be read"),
        (lambda run: cell_path(run).unlink(), "is missing"),
        (lambda run: cell_path(run).write_text("{}"), "is not a cell"),
        (lambda run: (run / "leaderboard.json").write_text('{"schema": 1}'), "leaderboard.json is not a table"),
    ],
)
def test_tampering_is_named(cli, run, tamper, told):
    tamper(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert told in outcome.out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_scores_changed_everywhere_are_caught_by_the_hash(cli, run):
    """Items, cell and table changed to fit each other: what is left to tell is the hash that was stored with the cell."""
    from unlearnbench.reports.run_files import write_leaderboard

    table = pyarrow.parquet.ParquetFile(items_path(run)).read()
    answers = table["answer"].to_pylist()
    wrong = [(answer + 1) % 4 for answer in answers]
    columns = {
        "score": pyarrow.array([0.0] * len(table)),
        "choice": pyarrow.array(wrong, pyarrow.int32()),
        "logprobs": pyarrow.array([[-0.1 if option == choice else -3.0 for option in range(4)] for choice in wrong]),
    }
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    pyarrow.parquet.write_table(table, items_path(run))
    cell = json.loads(cell_path(run).read_text())
    cell |= {"value": 0.0, "parts": {"bio": {"value": 0.0, "n": len(table)}}}
    cell["checksum"] = record_checksum(cell)
    cell_path(run).write_text(json.dumps(cell))
    write_leaderboard(RunFolder(run))
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert outcome.out.count("\n") == 1
    assert "their hash differs" in outcome.out


def test_deltas_are_those_that_were_scored(run):
    import torch

    from unlearnbench.leaderboard.verify import hashes_of_file, verify
    from unlearnbench.runs.deltas import weights_hash
    from unlearnbench.system.files import content_hash

    folder = RunFolder(run)
    delta = folder.delta_path("rmu", 0, IDENTITY)
    tensors = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    weights = weights_hash("w" * 64, "float32", tensors)
    job = {"variant": "rmu", "method": "rmu", "seed": 0, "identity": IDENTITY}
    manifest = {"weights": weights, "base": "w" * 64, "dtype": "float32", "job": job, "cost": {}}
    folder.write_delta(delta, tensors, manifest)
    assert content_hash(["w" * 64, "float32", hashes_of_file(delta / "delta.safetensors")]) == weights
    assert any("the scores of rmu are of other weights" in one for one in verify(run))  # the cells name others
    for path in (run / "cells" / "rmu").rglob("seed-0-*.json"):
        remake(path, weights=weights)
    assert list(verify(run)) == []
    content = bytearray((delta / "delta.safetensors").read_bytes())
    content[-1] ^= 1
    (delta / "delta.safetensors").write_bytes(content)
    assert any("the tensors are not those that its manifest names" in one for one in verify(run))


def test_site_has_stable_addresses(cli, made, tmp_path):
    assert cli("site", made, "--out", tmp_path / "site").code == 0
    feed = json.loads((tmp_path / "site" / "feed.json").read_text())
    (one,) = feed["runs"]
    page = tmp_path / "site" / one["url"]
    assert f'id="{one["rows"][1]["url"].partition("#")[2]}"' in page.read_text()
    assert json.loads((tmp_path / "site" / one["leaderboard"]).read_text()) == json.loads(
        (made / "leaderboard.json").read_text()
    )
    index = (tmp_path / "site" / "index.html").read_text()
    assert f'href="{one["url"]}"' in index
    assert "http" not in index.replace("http-equiv", "")
    before = {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert cli("site", made, made, "--out", tmp_path / "site").code == 0
    assert {path: path.read_bytes() for path in (tmp_path / "site").rglob("*") if path.is_file()} == before


def test_site_refuses_to_write_into_a_run(cli, made, tmp_path):
    outcome = cli("site", made, "--out", made)
    assert outcome.code == 2
    assert "is the folder of a comparison; name another folder" in outcome.err
    assert cli("site", tmp_path / "nowhere", "--out", tmp_path / "site").code == 2
    assert not (tmp_path / "site").exists()


def test_report_goes_into_a_file(cli, made, tmp_path):
    (tmp_path / "taken").write_text("")
    for out, told in ((tmp_path, "is a folder; name a file in it, as in"), (tmp_path / "taken" / "x.html", "is a file")):
        outcome = cli("report", made, "--out", out)
        assert (outcome.code, outcome.out) == (2, "")
        assert told in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_report_command_can_leave_items_out(cli, made, tmp_path):
    out = tmp_path / "public.html"
    assert cli("report", made, "--out", out, "--no-items").code == 0
    assert "Question bio/1?" not in out.read_text()
    assert 'id="items"' not in out.read_text()


def test_runs_of_one_identity_merge(cli, made, tmp_path):
    other = small_run(tmp_path / "two", seeds=3).root
    shown = json.loads(cli("leaderboard", made, other, "--format", "json").out)
    assert shown["recipe"]["name"] == "one + two"
    assert {row["variant"]: row["seeds"] for row in shown["rows"]}["rmu"] == [0, 1, 2]
    assert shown["rows"][0]["seeds"] == [0]


def test_rows_that_share_only_a_name_are_told_apart(cli, made, tmp_path):
    other = tmp_path / "two"
    shutil.copytree(made, other)
    for path in (other / "cells" / "rmu").rglob("*.json"):
        remake(path, method_options={"lr": 7})
    names = [row["variant"] for row in json.loads(cli("leaderboard", made, other, "--format", "json").out)["rows"]]
    assert sorted(names) == ["none", "rmu", "rmu@two", "scrub", "ssd"]


def test_runs_that_differ_say_in_what(cli, made, tmp_path):
    other = tmp_path / "two"
    shutil.copytree(made, other)
    for path in (other / "cells").rglob("*.json"):
        remake(path, dtype="bfloat16")
    outcome = cli("leaderboard", made, other)
    assert (outcome.code, outcome.out) == (2, "")
    assert "one and two cannot stand in one table: they differ in 'wmdp: dtype' (float32 against bfloat16)" in outcome.err
    assert cli("leaderboard", made, other, "--separate").out.count("small: a/model") == 2


def test_runs_of_different_bases_say_so_without_a_base_row(cli, made, tmp_path):
    """Neither has the untouched model: its weights are known from what was made of it."""
    others = []
    for name, weights in (("three", "w"), ("four", "x")):
        other = tmp_path / name
        shutil.copytree(made, other)
        plan = json.loads((other / "plan.json").read_text())
        plan["rows"] = [row for row in plan["rows"] if row["variant"] != "none"]
        (other / "plan.json").write_text(json.dumps(plan))
        for path in (other / "cells").rglob("*.json"):
            remake(path, base_weights=weights * 64)
        others.append(other)
    outcome = cli("leaderboard", *others)
    assert (outcome.code, outcome.out) == (2, "")
    assert "three and four cannot stand in one table: they differ in 'base_weights'" in outcome.err


def test_runs_of_different_benchmarks_say_so(cli, made, tmp_path):
    other = tmp_path / "two"
    shutil.copytree(made, other)
    plan = json.loads((other / "plan.json").read_text())
    plan["benchmarks"] = plan["benchmarks"][:2]
    (other / "plan.json").write_text(json.dumps(plan))
    outcome = cli("leaderboard", made, other)
    assert outcome.code == 2
    assert "they differ in 'benchmarks' (wmdp, mmlu, mt_bench against wmdp, mmlu)" in outcome.err


def test_diff_names_settings_and_tests_scores(cli, made, tmp_path):
    other = tmp_path / "two"
    shutil.copytree(made, other)
    plan = json.loads((other / "plan.json").read_text())
    plan["recipe"]["limit"] = 30
    (other / "plan.json").write_text(json.dumps(plan))
    shutil.copy(items_path(other, "ssd"), items_path(other, "rmu"))
    found = json.loads(cli("diff", made, other, "--json").out)
    assert found["settings"] == [{"where": "recipe", "name": "limit", "before": None, "after": 30}]
    lines = {(one["variant"], one["benchmark"]): one for one in found["scores"]}
    assert lines["none", "wmdp"]["p"] == 1
    changed = lines["rmu", "wmdp"]
    assert changed["difference"] < 0
    assert changed["low"] < changed["difference"] < changed["high"]
    assert changed["p"] < 0.05
    text = cli("diff", made, other).out
    assert "limit" in text
    same = cli("diff", made, made)
    assert "Their settings are the same." in same.out


def test_diff_is_mcnemars_test_where_each_has_one_seed(made, tmp_path):
    """Nine questions lost and none gained: 2 x .5^9."""
    from unlearnbench.leaderboard.diff import differ

    other = tmp_path / "two"
    shutil.copytree(made, other)
    path = items_path(other, "none")
    table = pyarrow.parquet.ParquetFile(path).read()
    scores = [0.0] * 9 + [1.0] * (len(table) - 9)
    pyarrow.parquet.write_table(table.set_column(table.column_names.index("score"), "score", pyarrow.array(scores)), path)
    change = next(one for one in differ(made, other).scores if (one.variant, one.benchmark) == ("none", "wmdp"))
    assert (change.lost, change.gained) == (9, 0)
    tests = len(differ(made, other).scores)
    assert change.p == pytest.approx(min(1, 2 * 0.5**9 * tests), rel=1e-3)


def test_diff_leaves_out_what_has_no_score(made, tmp_path):
    """What a judge left out counts on neither side; the rest is compared in the benchmark's own unit."""
    from unlearnbench.leaderboard.diff import differ

    other = tmp_path / "two"
    shutil.copytree(made, other)
    path = items_path(other, "none", "mt_bench")
    table = pyarrow.parquet.ParquetFile(path).read()
    scores = [float("nan"), *table["score"].to_pylist()[1:]]
    pyarrow.parquet.write_table(table.set_column(table.column_names.index("score"), "score", pyarrow.array(scores)), path)
    change = next(one for one in differ(made, other).scores if (one.variant, one.benchmark) == ("none", "mt_bench"))
    assert (change.unit, change.n, change.only_one, change.difference) == ("points", len(table) - 1, 0, 0.0)
    assert change.after == pytest.approx(sum(scores[1:]) / len(scores[1:]))


def test_diff_compares_what_both_asked(made, tmp_path):
    """Of thirty questions the other asked the first ten: both scores are over these, and their difference adds up."""
    from unlearnbench.leaderboard.diff import differ

    other = tmp_path / "two"
    shutil.copytree(made, other)
    for variant in ("none", "rmu"):
        path = items_path(other, variant)
        pyarrow.parquet.write_table(pyarrow.parquet.ParquetFile(path).read().slice(0, 10), path)
    whole = pyarrow.parquet.ParquetFile(items_path(made, "none")).read()["score"].to_pylist()
    change = next(one for one in differ(made, other).scores if (one.variant, one.benchmark) == ("none", "wmdp"))
    assert (change.n, change.only_one) == (10, 20)
    assert change.before == change.after == pytest.approx(sum(whole[:10]) / 10)
    assert change.difference == 0


@pytest.mark.parametrize("width", [60, 80, 200])
def test_diff_fits_the_terminal(cli, made, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    shown = cli("diff", made, made).out
    assert max(map(len, shown.splitlines()[3:])) <= width  # the folders' names may be longer
    for word in ("variant", "scrub", "mt_bench", "B - A", "p (Holm)"):
        assert word in shown
    assert ("Left out in" in shown) == (width < 200)


def test_diff_says_what_is_wrong(cli, made, tmp_path):
    for given, told in (
        ((made,), "Missing argument 'RUN_B'"),
        ((made, tmp_path / "nowhere"), "There is no folder"),
        ((made, tmp_path), "is not the folder of a comparison: plan.json is missing or damaged"),
    ):
        outcome = cli("diff", *given)
        assert (outcome.code, outcome.out) == (2, "")
        assert told in outcome.err


def test_columns_sort_and_precision(cli, made):
    out = cli("leaderboard", made, "--format", "csv", "--columns", "variant,mmlu,verdict", "--sort=-mmlu").out
    lines = list(csv.DictReader(io.StringIO(out)))
    assert list(lines[0]) == ["variant", "mmlu", "mmlu low", "mmlu high", "verdict"]
    values = [float(line["mmlu"]) for line in lines[1:-1]]
    assert values == sorted(values)
    assert [lines[0]["variant"], lines[-1]["variant"]] == ["none", "chance"]
    head = cli("leaderboard", made, "--format", "markdown", "--columns", "S,variant", "--precision", "1").out.splitlines()
    assert [cell.strip() for cell in head[0].split("|")[1:-1]] == ["S ↑", "variant"]
    wrong = cli("leaderboard", made, "--columns", "variant,mmlo")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Unknown column in --columns 'mmlo'. Did you mean 'mmlu'?" in wrong.err


def test_html_fragment_shows_names_as_they_are(cli, tmp_path):
    bad = small_run(tmp_path / "bad", bad=True, seeds=1, write=False).root
    out = cli("leaderboard", bad, "--format", "html").out
    assert "<script" not in out
    assert "&lt;script&gt;" in out


def test_published_rows_stand_below(cli, made):
    out = cli("leaderboard", made, "--reference", "wmdp-paper", "--format", "csv").out
    lines = {line["variant"]: line for line in csv.DictReader(io.StringIO(out))}
    published = lines["Zephyr-7B + RMU (published)"]
    assert (published["mmlu"], published["rank"], published["status"]) == ("0.571", "", "published")
    assert list(lines).index("chance") < list(lines).index("Zephyr-7B (published)")
    text = cli("leaderboard", made, "--reference", "wmdp-paper", "--format", "markdown").out
    assert "arXiv:2403.03218" in text
    assert "not run here" in text
    for style in ("terminal", "latex", "html"):
        out = cli("leaderboard", made, "--reference", "wmdp-paper", "--format", style).out
        assert "(published)" in out
        assert "arXiv:2403.03218" in out
    wrong = cli("leaderboard", made, "--reference", "wmdp")
    assert wrong.code == 2
    assert "Did you mean 'wmdp-paper'?" in wrong.err


def test_json_takes_an_order_and_a_publication(cli, made):
    plain = json.loads(cli("leaderboard", made, "--format", "json").out)
    assert plain == json.loads((made / "leaderboard.json").read_text())
    shown = json.loads(cli("leaderboard", made, "--format", "json", "--sort=-mmlu", "--reference", "wmdp-paper").out)
    values = [row["columns"]["mmlu"]["value"] for row in shown["rows"][1:]]
    assert values == sorted(values)
    assert shown["rows"][0]["variant"] == "none"
    published = {row["name"]: row["scores"] for row in shown.pop("reference")["rows"]}
    assert published["Zephyr-7B + RMU"]["wmdp/bio"] == 0.312
    assert sorted(shown["rows"], key=lambda row: row["variant"]) == sorted(plain["rows"], key=lambda row: row["variant"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--columns", "variant,mmlo"), "Unknown column in --columns 'mmlo'. Did you mean 'mmlu'?"),
        (("--columns", ","), "--columns takes a list separated by commas; got ','."),
        (("--sort", "mmlo"), "Unknown column in --sort 'mmlo'. Did you mean 'mmlu'?"),
        (("--sort", ""), "Unknown column in --sort ''. Available: F, GPU memory, K, S, best,"),
        (("--reference", ""), "Unknown value of --reference ''. Available: wmdp-paper."),
        (("--format", "tex"), "Unknown value of --format 'tex'. Did you mean 'latex'?"),
        (("--precision", "9"), "--precision takes a whole number from 0 to 6; got '9'."),
        (("--precision", "two"), "--precision takes a whole number from 0 to 6; got 'two'."),
        (("--format", "json", "--columns", "S"), "--format json has every column, part and digit: leave --columns out."),
        (("--format", "json", "--parts", "--precision", "2"), "leave --parts and --precision out."),
        (("--explain", "--sort", "S", "--format", "csv"), "--explain is plain text about every row: leave --sort and --format"),
        (("--trials", "--explain"), "--trials shows every trial in full: leave --explain out."),
        (("--trials",), "There was no search in"),
    ],
)
def test_wrong_looks_are_refused(cli, made, given, told):
    outcome = cli("leaderboard", made, *given)
    assert (outcome.code, outcome.out) == (2, "")
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("digits", range(7))
def test_every_precision_works(cli, made, digits):
    shown = cli("leaderboard", made, "--format", "markdown", "--precision", str(digits))
    assert shown.code == 0
    rmu = next(line for line in shown.out.splitlines() if "| rmu " in line)
    cell = rmu.split("|")[3].split("(")[0].strip()
    assert len(cell.partition(".")[2]) == digits
