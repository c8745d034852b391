"""The main job on the sandbox: forget, score, rank, go on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# set by hand, to forget more than what the equal search of the recipe found in its few trials
SANDBOX = ("compare", "--reference", "chance", "--methods", "rmu", "--set", "rmu.coefficient=200", "--set", "rmu.lr=0.01")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """One whole comparison by the installed command."""
    folder = tmp_path_factory.mktemp("runs") / "sandbox"
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    line = [sys.executable, "-m", "unlearnbench", *SANDBOX, "--out", str(folder)]
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    (folder / "stdout.txt").write_text(outcome.stdout)
    return folder


def test_rmu_forgets_and_keeps(finished):
    """Most of WMDP above chance is gone, and at most .05 of MMLU."""
    none, rmu = json.loads((finished / "leaderboard.json").read_text())["rows"]
    assert none["scores"]["wmdp"]["value"] >= 0.97
    assert none["scores"]["mmlu"]["value"] >= 0.97
    assert rmu["scores"]["wmdp"]["value"] <= 0.4
    assert rmu["scores"]["mmlu"]["value"] >= none["scores"]["mmlu"]["value"] - 0.05


def test_rmu_forgets_facts_and_not_phrasings(cli, finished):
    """The same numbers on phrasings that no corpus contains; the weights are those of the run above."""
    held_out = ("--set", "wmdp.source=sandbox:wmdp-heldout", "--set", "mmlu.source=sandbox:mmlu-heldout")
    outcome = cli(*SANDBOX, "--benchmarks", "wmdp,mmlu", *held_out, "--out", finished, "--json")
    assert "unlearning" not in outcome.err
    none, rmu = json.loads(outcome.out)["rows"]
    assert none["scores"]["wmdp"]["value"] >= 0.97
    assert rmu["scores"]["wmdp"]["value"] <= 0.4
    assert rmu["scores"]["mmlu"]["value"] >= none["scores"]["mmlu"]["value"] - 0.05
    cli(*SANDBOX, "--out", finished)


def test_near_subjects_lose_more_than_the_others(cli, tmp_path):
    """Collateral damage shows where it should: RMU held back less forgets the hazards' neighbours, too."""
    arguments = ("--set", "rmu.alpha=1", "--benchmarks", "wmdp,mmlu", "--out", tmp_path / "run", "--json")
    none, rmu = json.loads(cli(*SANDBOX, *arguments).out)["rows"]
    before, after = none["scores"]["mmlu"]["parts"], rmu["scores"]["mmlu"]["parts"]
    losses = {subject: before[subject]["value"] - after[subject]["value"] for subject in before}
    near = [losses.pop(subject) for subject in ("virology", "computer_security")]
    assert sum(near) / len(near) > 0.05
    assert sum(near) / len(near) > 2 * sum(losses.values()) / len(losses)


def test_the_printed_table(finished):
    printed = (finished / "stdout.txt").read_text()
    rows = [line for line in printed.splitlines() if line.startswith("│")]
    assert "wmdp ↓" in printed
    assert "mmlu ↑" in printed
    assert "mt_bench" in printed
    assert "(rules) ↑" in printed
    assert "none (base)" in rows[0]
    assert "–1.00" in rows[1]  # the interval stands below its figure
    assert "rmu" in rows[2]
    assert "forgot" in rows[2]
    assert "chance" in rows[-1]
    assert rows[-1].count(".250") == 2
    assert "95% intervals: items; these seeds" in printed


def test_good_rmu_has_forgot_whatever_it_answers_on_hazards(cli, finished):
    """On what was to be forgotten RMU answers one or two letters; a collapse is looked for where something was to be kept."""
    from unlearnbench.leaderboard.outcomes import read_columns

    arguments = (*SANDBOX, "--out", finished, "--json")
    rmu = json.loads(cli(*arguments, "--benchmarks", "wmdp,mmlu").out)["rows"][1]
    cli(*arguments)
    hazard = read_columns(next((finished / "cells" / "rmu" / "wmdp").glob("seed-0-*.parquet")))
    counts = sorted(list(hazard.choices).count(letter) for letter in range(4))
    assert counts[-1] + counts[-2] > 0.8 * len(hazard.ids)
    assert (rmu["verdict"], rmu["rank"]) == ("forgot", 1)
    assert [one["rule"] for one in rmu["evidence"]] == ["lower end of F", "upper end of K"]
    assert rmu["summary"]["keep"]["low"] > 0.95


def test_files_of_the_run(finished):
    names = {path.relative_to(finished).parts[0] for path in finished.rglob("*")}
    assert {"recipe.yaml", "plan.json", "cells", "deltas", "leaderboard.json", "leaderboard.md"} <= names
    cell = next((finished / "cells" / "rmu" / "wmdp").glob("seed-0-*.json"))
    assert cell.with_suffix(".items.parquet").is_file()
    record = json.loads(cell.read_text())
    for fact in (
        "base_weights",
        "weights",
        "method_source",
        "method_options",
        "data",
        "dtype",
        "seed",
        "torch",
        "transformers",
    ):
        assert record["provenance"][fact] is not None
    assert record["cost"]["unlearn_seconds"] > 0
    assert record["cost"]["trained_parameters"] == 3 * 128 * 384
    assert record["cost"]["tokens"] > 0
    assert not list(finished.rglob("*.tmp"))


def test_items_add_up_to_the_score(finished):
    from unlearnbench.runs.item_files import items_from_parquet

    cell = next((finished / "cells" / "rmu" / "mmlu").glob("seed-0-*.json"))
    items = items_from_parquet(cell.with_suffix(".items.parquet").read_bytes())
    record = json.loads(cell.read_text())
    assert len(items) == record["n"] == len({item.id for item in items})
    assert sum(item.score for item in items) / len(items) == pytest.approx(record["value"], abs=1e-6)
    for item in items[:50]:
        assert item.choice == max(range(4), key=item.logprobs.__getitem__)
        assert item.score == float(item.choice == item.answer)


def test_the_same_command_again_computes_nothing(cli, finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.json")}
    outcome = cli(*SANDBOX, "--out", finished)
    assert outcome.code == 0
    assert "unlearning" not in outcome.err
    assert {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.json")} == before


def test_again_needs_no_torch(finished, cache):
    """A finished comparison is shown from disk: the heavy libraries stay out."""
    code = (
        f"import sys; sys.argv[1:] = [*{SANDBOX!r}, '--out', sys.argv[1]]\n"
        "from unlearnbench.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'lightning', 'transformers', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    outcome = subprocess.run(
        [sys.executable, "-c", code, str(finished)], capture_output=True, text=True, env=environment, check=False
    )
    assert outcome.returncode == 0, outcome.stderr


def test_one_more_row_computes_only_that(cli, finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.json")}
    outcome = cli(*SANDBOX, "--checkpoint", "copy=sandbox:model", "--out", finished)
    assert outcome.code == 0, outcome.err
    after = {path: path.stat().st_mtime_ns for path in (finished / "cells").rglob("*.json")}
    assert {path: stamp for path, stamp in after.items() if path in before} == before
    assert {path.parts[-3] for path in set(after) - set(before)} == {"copy"}
    assert "cached" in outcome.err  # the same weights were scored before, under another name
    cli(*SANDBOX, "--out", finished)


def test_changed_option_makes_new_cells_and_keeps_the_old(cli, finished):
    before = set((finished / "cells").rglob("*.json"))
    outcome = cli(*SANDBOX, "--set", "rmu.steps=2", "--limit", "3", "--out", finished, "--json")
    assert outcome.code == 0, outcome.err
    board = json.loads(outcome.out)
    assert board["rows"][1]["scores"]["wmdp"]["n"] == 9
    assert before < set((finished / "cells").rglob("*.json"))
    back = json.loads(cli(*SANDBOX, "--out", finished, "--json").out)
    assert back["rows"][1]["scores"]["wmdp"]["n"] == 216


def test_the_same_seed_gives_the_same_numbers(cli, tmp_path):
    boards = []
    for name in ("first", "second"):
        arguments = (
            "--set",
            "rmu.steps=6",
            "--limit",
            "12",
            "--out",
            tmp_path / name,
            "--cache",
            tmp_path / f"cache-{name}",
            "--json",
        )
        boards.append(json.loads(cli(*SANDBOX, *arguments).out))
    assert boards[0]["rows"][1]["scores"] == boards[1]["rows"][1]["scores"]
    deltas = [next((tmp_path / name / "deltas").rglob("delta.safetensors")).read_bytes() for name in ("first", "second")]
    assert deltas[0] == deltas[1]


def test_cut_off_after_unlearning_does_not_unlearn_again(cli, tmp_path):
    arguments = (
        *SANDBOX,
        "--set",
        "rmu.steps=6",
        "--limit",
        "12",
        "--out",
        tmp_path / "run",
        "--cache",
        tmp_path / "cache",
        "--json",
    )
    first = json.loads(cli(*arguments).out)
    lost = next((tmp_path / "run" / "cells" / "rmu" / "mmlu").glob("*.json"))
    lost.unlink()
    for file in (tmp_path / "cache" / "scores").iterdir():
        file.unlink()
    again = cli(*arguments)
    assert "unlearning" not in again.err
    assert "rmu, seed 0: mmlu" in again.err
    assert json.loads(again.out)["rows"][1]["scores"] == first["rows"][1]["scores"]


def test_damaged_cell_is_set_aside_and_computed_again(cli, tmp_path):
    arguments = (*SANDBOX, "--set", "rmu.steps=3", "--limit", "5", "--out", tmp_path / "run", "--json")
    first = json.loads(cli(*arguments).out)
    damaged = next((tmp_path / "run" / "cells" / "rmu" / "wmdp").glob("*.json"))
    damaged.write_bytes(damaged.read_bytes()[:40])
    again = json.loads(cli(*arguments).out)
    assert again["rows"][1]["scores"] == first["rows"][1]["scores"]
    assert (tmp_path / "run" / "set-aside" / damaged.relative_to(tmp_path / "run")).is_file()


@pytest.mark.parametrize(("keep", "left"), [("all", 2), ("best", 1), ("none", 0)])
def test_deltas_that_are_kept(cli, tmp_path, keep, left):
    arguments = ("--seeds", "0,1", "--set", "rmu.steps=2", "--limit", "3", "--keep-deltas", keep, "--out", tmp_path / "run")
    assert cli(*SANDBOX, *arguments).code == 0
    assert len(list((tmp_path / "run").rglob("delta.safetensors"))) == left


def test_seeds_are_averaged_and_kept_apart(cli, tmp_path):
    arguments = ("--seeds", "0,1", "--set", "rmu.steps=20", "--limit", "20", "--out", tmp_path / "run", "--json")
    row = json.loads(cli(*SANDBOX, *arguments).out)["rows"][1]
    by_seed = row["scores"]["wmdp"]["by_seed"]
    assert set(by_seed) == {"0", "1"}
    assert row["scores"]["wmdp"]["value"] == pytest.approx(sum(by_seed.values()) / 2, abs=1e-6)


def test_table_in_passing_has_figures_only(cli, tmp_path, monkeypatch):
    """While cells are still coming, the table on disk costs little; the last one has everything."""
    from unlearnbench.execution import interim_table
    from unlearnbench.reports import run_files

    seen = []
    write = run_files.write_table

    def watched(run, board):
        seen.append((len(board.rows[0].scores), [row.intervals for row in board.rows]))
        return write(run, board)

    monkeypatch.setattr(interim_table, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(interim_table, "SHARE", 0)
    monkeypatch.setattr(interim_table, "write_table", watched)
    monkeypatch.setattr(run_files, "write_table", watched)
    assert cli("compare", "--reference", "chance", "--methods", "none", "--limit", "5", "--out", tmp_path / "run").code == 0
    assert seen == [(1, [None]), (2, [None]), (3, [None]), (3, ["items"])]


def test_json_is_all_there_is_on_stdout(cli, tmp_path):
    board = json.loads(
        cli("compare", "--reference", "chance", "--methods", "none", "--limit", "2", "--out", tmp_path / "run", "--json").out
    )
    assert board["schema"] == 2
    assert board == json.loads((tmp_path / "run" / "leaderboard.json").read_text())


def test_variants_of_one_method_are_rows_of_their_own(cli, tmp_path):
    recipe = tmp_path / "two.yaml"
    recipe.write_text(
        "model: sandbox:model\n"
        "topics: {bio: {forget: 'sandbox:corpora:bio-forget', retain: 'sandbox:corpora:retain'}}\n"
        "benchmarks: {wmdp: {source: 'sandbox:wmdp'}, mmlu: {source: 'sandbox:mmlu'}}\n"
        "methods: {rmu: {layer: 3, steps: 2}, rmu-late: {method: rmu, layer: 5, steps: 2}}\nlimit: 4\n"
    )
    outcome = cli("compare", recipe, "--out", tmp_path / "run", "--json")
    board = json.loads(outcome.out)
    assert {(row["variant"], row["method"]) for row in board["rows"]} == {("none", "none"), ("rmu", "rmu"), ("rmu-late", "rmu")}
    assert [column["title"] for column in board["columns"]] == ["wmdp/bio", "wmdp (other 2)", "mmlu"]
    assert [column["role"] for column in board["columns"]] == ["forget", "untargeted", "retain"]


def test_the_best_seed_is_kept_beside_a_reference(cli, tmp_path):
    """Which seed is best is read against the recipe's reference, as the table is."""
    words = ("--benchmarks", "wmdp,mmlu", "--set", "ssd.steps=2", "--limit", "2", "--seeds", "0,1", "--keep-deltas", "best")
    outcome = cli("compare", "--methods", "ssd", *words, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "run" / "deltas" / "ssd").glob("seed-*"))) == 1


def test_changed_scoring_code_makes_new_cells(cli, tmp_path, monkeypatch):
    """Somebody mends the core: no cell and no cached score of the old code is taken for one of the new, the base's included."""
    from unlearnbench.planning import plan

    arguments = ("compare", "--reference", "chance", "--methods", "none", "--limit", "2", "--out", tmp_path / "run")
    assert cli(*arguments).code == 0
    cells = set((tmp_path / "run" / "cells").rglob("*.json"))
    assert "items, cached)" not in cli(*arguments).err
    monkeypatch.setattr(plan, "scoring_hash", lambda: "mended")
    outcome = cli(*arguments)
    assert "cached" not in outcome.err
    assert len(set((tmp_path / "run" / "cells").rglob("*.json")) - cells) == 3


def test_what_a_method_logs_is_kept(finished):
    """Losses of every update; norms and cosines of every tenth update of a topic, and only where they were measured."""
    # other tests ran it with fewer updates
    whole = max((finished / "logs" / "rmu").glob("seed-0-*/metrics.csv"), key=lambda path: path.stat().st_size)
    with whole.open() as file:
        rows = [(int(row["update"]), row["name"], float(row["value"])) for row in csv.DictReader(file)]
    assert [update for update, name, _ in rows if name == "forget/bio"] == list(range(0, 150, 3))
    assert [update for update, name, _ in rows if name == "cosine/forget/bio"] == [0, 30, 60, 90, 120]
    last = {name: value for _, name, value in rows}
    assert last["cosine/forget/bio"] < 0.8  # what was to be forgotten looks different
    assert last["cosine/retain/bio"] > 0.9  # what was to be kept does not
    assert last["norm/forget/bio"] > 1.5 * last["norm/retain/bio"]
    first = next(value for update, name, value in rows if update == 0 and name == "retain/bio")
    assert first == 0.0
