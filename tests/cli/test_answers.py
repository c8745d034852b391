"""Answers beside each other: real cells, hostile texts, narrow terminals and clear refusals."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from unlearnbench.records.cells import CellKey
from unlearnbench.records.items import ItemResult
from unlearnbench.records.manifest import ManifestRow
from unlearnbench.reports.answers import Written, render
from unlearnbench.runs.reading import PLAN_FILE


def item(number: int, text: str, **changes) -> ItemResult:
    facts = {"id": f"{number}/turn-1", "part": "stem", "score": 7.0, "question": "What is it?", "text": text, **changes}
    return ItemResult(**facts)


def shown(left, right, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, color_system=None)
    for block in render(left, right, width=width):
        console.print(block)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 80, 160])
def test_texts_are_shown_as_they_are_in_any_width(width):
    hostile = "[bold]not[/bold] [link=file:///etc]x[/] \x1b]0;title\x07\x1b[2J [/] end"
    base, own = item(1, "A plain answer.", judgment="Fine. [[7]]"), item(1, hostile, ratings=(3.0, 4.0), score=3.5)
    text = shown(Written("none (base)", [base]), Written("rmu", [own]), width)
    lines = text.splitlines()
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in text
    assert "\x07" not in text
    squeezed = "".join(c for c in text if c not in " \n│╭╮╰╯─")
    assert "[bold]not[/bold]" in squeezed or width >= 90
    assert "[/]" in squeezed
    beside = any("none (base)" in line and "rmu" in line for line in lines)
    assert beside == (width >= 90)


def test_what_has_no_score_says_why():
    lost = item(1, "", score=math.nan, error="the model reads 512")
    unjudged = item(2, "Something.", score=math.nan, error="the budget of 3 requests is spent")
    text = shown(Written("rmu", [lost, unjudged, item(3, "")]), None, 80)
    assert "no score: the model reads 512" in text
    assert "Something." in text
    assert "(an empty answer)" in text


def test_answers_of_a_run(cli, tmp_path):
    run = tmp_path / "run"
    assert cli("evaluate", "sandbox:model", "--benchmarks", "mmlu,mt_bench", "--limit", "1", "--out", run).code == 0
    outcome = cli("answers", run, "none")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("none: 10.00") == 4
    assert "turn-2" in outcome.out
    only = cli("answers", run, "none", "--part", "stem")
    assert only.out.count("none: 10.00") == 2
    for arguments, said in [
        (("answers", tmp_path / "no", "none"), "There is no folder"),
        (("answers", run, "nine"), "Did you mean 'none'?"),
        (("answers", run, "none", "--benchmark", "mt-bench"), "Did you mean 'mt_bench'?"),
        (("answers", run, "none", "--benchmark", "mmlu"), "has no written answers"),
        (("answers", run, "none", "--seed", "7"), "has no seed 7"),
        (("answers", run, "none", "--question", "zzz"), "no such question"),
    ]:
        refused = cli(*arguments)
        assert refused.code == 2
        assert said in refused.err


def test_empty_answers_are_answers(cli, tmp_path):
    """A model that says nothing at all is what one wants to look at."""
    from helpers.small_runs import small_run

    run = small_run(tmp_path / "run", write=False)
    manifest = json.loads((tmp_path / "run" / PLAN_FILE).read_text())
    row = ManifestRow.model_validate(next(row for row in manifest["rows"] if row["variant"] == "ssd"))
    key = CellKey(variant="ssd", benchmark="mt_bench", seed=0)
    cell = run.read_cell(key, row.cells[str(key)])
    silent = [replace(one, text="", question="What is it?", score=1.0) for one in run.read_items(key, cell.identity)]
    run.write_cell(cell, silent)
    outcome = cli("answers", tmp_path / "run", "ssd", "--question", "3")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("(an empty answer)") == 2
