"""A run in Python's hands: frames of what the folder holds, the report's figures, and a table for a notebook."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.small_runs import HOSTILE, small_run

from unlearnbench import Run, UsageError, read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return read_run(small_run(tmp_path_factory.mktemp("run"), write=False).root)


def test_rows_are_the_table(run):
    frame = run.to_frame()
    assert list(frame["variant"]) == [row.variant for row in run.leaderboard.rows]
    rmu = frame.set_index("variant").loc["rmu"]
    row = next(row for row in run.leaderboard.rows if row.variant == "rmu")
    assert row.summary is not None
    assert rmu["F"] == row.summary.forget.value
    assert rmu["F low"] == row.summary.forget.low
    assert rmu["mmlu"] == row.columns["mmlu"].value
    assert rmu["verdict"] == row.verdict


def test_scores_are_those_of_benchmarks_seeds_and_parts(run):
    frame = run.to_frame("scores").set_index(["variant", "benchmark", "of", "name"]).sort_index()
    score = next(row for row in run.leaderboard.rows if row.variant == "rmu").scores["mmlu"]
    of = frame.loc[("rmu", "mmlu")]
    assert of.loc[("whole", ""), "value"] == score.value
    assert dict(of.loc["seed"]["value"]) == score.by_seed
    assert set(of.loc["part"].index) == {"anatomy", "virology", "physics"}
    assert of.loc[("part", "physics"), "n"] == 30


def test_items_add_up_to_the_scores(run):
    items = run.to_frame("items")
    means = items.groupby(["variant", "benchmark"])["score"].mean()
    for row in run.leaderboard.rows:
        for name, score in row.scores.items():
            assert means[row.variant, name] == pytest.approx(score.value, abs=1e-6)
    one = items[(items["variant"] == "rmu") & (items["benchmark"] == "wmdp") & (items["seed"] == 1)].iloc[0]
    assert len(one["logprobs"]) == 4
    assert one["question"].startswith("Question")


def test_conversations_have_turns_and_what_was_asked(run):
    talks = run.to_frame("conversations")
    assert set(talks["benchmark"]) == {"mt_bench"}
    assert sorted(talks["turn"].unique()) == [1, 2]
    last = talks[(talks["variant"] == "scrub") & (talks["conversation"] == "3") & (talks["turn"] == 2)].iloc[0]
    assert last["question"] == "Ask 3/turn-2"
    assert last["text"] == "answer 2 3 2"


def test_curves_are_the_logs(run):
    curves = run.to_frame("curves")
    assert list(curves.columns) == ["variant", "seed", "update", "name", "value"]
    assert set(curves["variant"]) == {"rmu", "scrub", "ssd"}
    assert curves["update"].is_monotonic_increasing or len(curves) > 1


def test_a_run_without_logs_or_answers_has_empty_frames(tmp_path):
    """With their columns, so that what goes on with them needs no special case."""
    folder = small_run(tmp_path, write=False).root
    for log in (folder / "logs").rglob("metrics.csv"):
        log.unlink()
    assert list(read_run(folder).to_frame("curves").columns) == ["variant", "seed", "update", "name", "value"]


def test_figures_are_the_reports(run):
    figures = run.figures()
    assert {"plane", "parts/mmlu", "letters/wmdp"} < set(figures)
    assert any(name.startswith("curves/rmu/") for name in figures)
    assert figures["parts/mmlu"].data[0].type == "heatmap"
    points = {trace.meta["row"]: (trace.x[0], trace.y[0]) for trace in run.plot().data if trace.meta and "row" in trace.meta}
    ssd = next(row for row in run.leaderboard.rows if row.variant == "ssd").summary
    assert ssd is not None
    assert points["ssd"] == (ssd.keep.value, ssd.forget.value)


def test_what_there_is_not_is_named(run, tmp_path):
    with pytest.raises(UsageError, match=r"Unknown frame 'item'. Did you mean 'items'\? Available: conversations, curves"):
        run.to_frame("item")
    with pytest.raises(UsageError, match=r"Unknown figure of .* 'parts/mmul'. Did you mean 'parts/mmlu'\?"):
        run.plot("parts/mmul")
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere; `unlearnbench compare` makes one"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="--damage-margin takes a share from 0 to below 1"):
        read_run(run.folder, damage_margin=2)
    with pytest.raises(UsageError, match="Unknown figure in --rank-by 'nothing'"):
        read_run(run.folder, rank_by="nothing")


def test_ranked_otherwise(run):
    assert read_run(run.folder, rank_by="forget").leaderboard.settings.rank_by == "forget"


def test_damaged_items_are_a_sentence(tmp_path):
    run = read_run(small_run(tmp_path, write=False).root)
    file = next((tmp_path / "cells" / "rmu" / "mmlu").glob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(UsageError, match=r"The items of rmu/mmlu/\d cannot be read: .*; run the comparison again"):
        run.to_frame("items")


def test_a_notebook_shows_nothing_but_text(tmp_path):
    """Names of rows, parts and topics that are markup stay text."""
    run = read_run(small_run(tmp_path, bad=True, write=False).root)
    page = run._repr_html_()
    assert "<table>" in page
    assert "&lt;script&gt;" in page
    assert not any(text in page for text in HOSTILE if "<" in text)
    drawn = [f"{trace.name}{trace.text}{trace.hovertext}" for figure in run.figures().values() for trace in figure.data]
    assert not any("<script" in text for text in drawn)


def test_reading_imports_no_torch(run):
    code = (
        "import sys, unlearnbench\n"
        f"run = unlearnbench.read_run({str(run.folder)!r})\n"
        "run.to_frame('scores'), run.to_frame('items'), run._repr_html_()\n"
        "heavy = {'torch', 'transformers', 'lightning'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "", "")
