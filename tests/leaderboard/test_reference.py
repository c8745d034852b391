"""A model that never knew as the ideal of forgetting."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.comparisons import accuracy, answered, comparison, of_scores

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.reports import explain, text
from unlearnbench.reports.formatting import notes
from unlearnbench.reports.grid import lay_out
from unlearnbench.reports.html import charts

ITEMS = 1000
HEADS = (accuracy("wmdp", ["bio"], {"bio": ["bio"]}), accuracy("mmlu", ["all"]))
SCORES = {
    "none": (0.8, 0.9),
    "retrain": (0.4, 0.9),
    "rmu": (0.3, 0.9),
    "scrub": (0.5, 0.8),
    "same": (0.4, 0.9),
}


def table(scores=SCORES, *, reference=("retrain",), items=ITEMS, **settings) -> Leaderboard:
    """A table from {row: (wmdp, mmlu)}, each row's right answers drawn by itself."""
    rows = {
        name: {"wmdp": answered({"bio": bio}, items, f"{name} wmdp"), "mmlu": answered({"all": kept}, items, f"{name} mmlu")}
        for name, (bio, kept) in scores.items()
    }
    return build_leaderboard(*comparison(HEADS, rows), TableSettings(resamples=2000, reference=list(reference), **settings))


def row_of(board: Leaderboard, name: str):
    return next(row for row in board.rows if row.variant == name)


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return table()


def test_share_gone_by_hand(board):
    """Base .8, reference .4: a score of .5 is 1 - .1/.4 of the way, and so is .3, which is beyond."""
    assert row_of(board, "scrub").summary.forget.value == pytest.approx(0.75)
    assert row_of(board, "rmu").summary.forget.value == pytest.approx(0.75)
    chance = table(reference=())
    assert row_of(chance, "rmu").summary.forget.value == pytest.approx(1 - 0.05 / 0.55, abs=1e-6)
    assert row_of(chance, "scrub").summary.forget.value == pytest.approx(1 - 0.25 / 0.55, abs=1e-6)


def test_reference_has_forgotten_everything_by_definition(board):
    row = board.rows[1]
    assert (row.variant, row.verdict, row.rank) == ("retrain", "reference", None)
    assert (row.summary.forget.value, row.summary.forget.low, row.summary.forget.high) == (1, 1, 1)
    assert all("retrain" not in pair.rows for pair in board.pairs if pair.difference is not None)


def test_column_and_topic_have_the_ideal(board):
    assert [(column.title, column.ideal) for column in board.columns] == [("wmdp", 0.4), ("mmlu", None)]
    assert board.topics[0].ideal == 0.4
    assert "wmdp →.400" in lay_out(board).head
    assert "wmdp ↓" in lay_out(table(reference=())).head


def test_reference_is_a_star_in_the_plane(board):
    """At F = 1, with a bar as long as the farther end of its own score's interval, as a share of the base's distance."""
    traces = {trace["meta"]["row"]: trace for trace in charts.plane(board)["data"] if "row" in (trace.get("meta") or {})}
    star = traces["retrain"]
    assert (star["marker"]["symbol"], star["y"][0]) == ("star", 1)
    score = board.rows[1].columns["wmdp"]
    farther = max(score.high - score.value, score.value - score.low) / (0.8 - 0.4)
    assert star["error_y"]["arrayminus"][0] == pytest.approx(farther, abs=1e-5)
    assert traces["rmu"]["marker"]["symbol"] != "star"


def test_beyond_the_reference_is_inverted(board):
    assert row_of(board, "rmu").verdict == "inverted"
    assert "beyond the reference" in row_of(board, "rmu").evidence[0].rule
    assert row_of(board, "same").verdict == "forgot"
    assert row_of(table(reference=()), "rmu").verdict == "forgot"


def test_worse_is_lower_is_read_the_other_way_round():
    """Where base and reference lie the other way round, as with a loss, so does everything else."""
    board = table({"none": (0.2, 0.9), "retrain": (0.6, 0.9), "rmu": (0.7, 0.9)}, rank_by="mmlu")
    assert board.columns[0].informative is False  # an accuracy: the base is worse than the reference
    heads = [accuracy("wmdp", ["bio"], {"bio": ["bio"]}), HEADS[1]]
    heads[0] = heads[0].model_copy(update={"metric": heads[0].metric.model_copy(update={"better": "lower"})})
    scores = {"none": (0.2, 0.9), "retrain": (0.6, 0.9), "rmu": (0.7, 0.9), "scrub": (0.5, 0.9)}
    rows = {
        name: {"wmdp": answered({"bio": bio}, ITEMS, name), "mmlu": answered({"all": kept}, ITEMS, name)}
        for name, (bio, kept) in scores.items()
    }
    lower = build_leaderboard(*comparison(heads, rows), TableSettings(resamples=2000, reference=["retrain"]))
    assert row_of(lower, "rmu").summary.forget.value == pytest.approx(0.75)
    assert row_of(lower, "rmu").verdict == "inverted"
    assert row_of(lower, "scrub").verdict == "forgot"


def test_reference_that_knows_as_much_as_the_base_is_none():
    board = table({"none": (0.8, 0.9), "retrain": (0.79, 0.9), "rmu": (0.3, 0.9)})
    assert board.unranked is not None
    assert "not significantly above the reference, retrain, on bio" in board.unranked


def test_reaching_is_equivalence_and_not_want_of_evidence():
    """The same score on few items reaches nothing; on many it does, and a row far away never does."""
    few = table(items=40)
    assert row_of(few, "same").summary.forget.value == 1
    assert row_of(few, "same").summary.reaches is False
    many = table(items=20_000)
    assert row_of(many, "same").summary.reaches is True
    assert row_of(many, "scrub").summary.reaches is False
    assert row_of(many, "same").summary.distances["bio"].value == pytest.approx(0, abs=1e-6)
    assert row_of(many, "scrub").summary.distances["bio"].value == pytest.approx(0.25, abs=1e-6)
    assert row_of(many, "rmu").summary.distances["bio"].value == pytest.approx(-0.25, abs=1e-6)
    assert row_of(table(reference=()), "same").summary.reaches is None


def test_several_references_are_their_mean_and_their_spread_counts():
    scores = {"none": (0.8, 0.9), "a": (0.3, 0.9), "b": (0.5, 0.9), "c": (0.4, 0.9), "rmu": (0.6, 0.9)}
    both, one = table(scores, reference=["a", "b"]), table(scores, reference=["c"])
    assert both.columns[0].ideal == one.columns[0].ideal == 0.4
    assert row_of(both, "a").verdict == row_of(both, "b").verdict == "reference"
    narrow, wide = (row_of(board, "rmu").summary.forget for board in (one, both))
    assert wide.value == pytest.approx(narrow.value)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_unknown_reference_is_refused():
    with pytest.raises(UsageError, match=r"Unknown row in --reference 'retrained'. Did you mean 'retrain'"):
        table(reference=["retrained"])


def test_ranks_by_the_column_go_by_the_distance_from_the_reference():
    board = table({**SCORES, "near": (0.41, 0.5)}, rank_by="wmdp")
    assert {row.variant: row.rank for row in board.rows if row.rank}["rmu"] > 1
    assert lay_out(board).sorted_by("wmdp").lines[2].name in ("same", "near")


def test_nothing_stands_in_for_a_reference_that_has_no_score_yet():
    rows = {
        name: {"wmdp": answered({"bio": bio}, ITEMS, name), "mmlu": answered({"all": kept}, ITEMS, name)}
        for name, (bio, kept) in SCORES.items()
    }
    manifest, cells, items = comparison(HEADS, rows)
    del cells["retrain/wmdp/0"], items["retrain/wmdp/0"]
    board = build_leaderboard(manifest, cells, items, TableSettings(resamples=2000, reference=["retrain"], rank_by="wmdp"))
    assert board.columns[0].ideal is None
    assert {row.rank for row in board.rows} == {None}
    assert row_of(board, "rmu").summary.forget.value is None


def test_words_say_what_the_ideal_is(board):
    assert "best is the score of retrain, the reference" in notes(board)[1]
    assert "stands in for the score of a model that never knew" in notes(table(reference=()))[1]
    told = explain.render(board)
    assert "bio: 1 - |.300 - .400| / |.800 - .400| = .750" in told
    assert "the ideal is what retrain scores, the reference" in told
    assert "does not reach the reference: bio .250" in told
    assert "reaches" in text.render([board], "csv").splitlines()[0]
    assert "reaches" not in text.render([table(reference=())], "csv").splitlines()[0]


def test_interval_against_a_reference_covers():
    """Both models answer other questions of the same kind; the share gone of all questions lies inside 95% of the time."""
    rng = np.random.default_rng(0)
    inside, trials, items = 0, 120, 200
    for _ in range(trials):
        hard = rng.random(items)  # one question is hard for all of them
        drawn = {
            name: (rng.random(items) + hard) / 2 < level for name, level in (("none", 0.8), ("retrain", 0.4), ("rmu", 0.6))
        }
        expected = {name: _below(level) for name, level in (("none", 0.8), ("retrain", 0.4), ("rmu", 0.6))}
        truth = 1 - (expected["rmu"] - expected["retrain"]) / (expected["none"] - expected["retrain"])
        kept = of_scores({"all": np.full(4, 1.0)})
        rows = {name: {"wmdp": of_scores({"bio": own.astype(float)}), "mmlu": kept} for name, own in drawn.items()}
        settings = TableSettings(resamples=400, reference=["retrain"])
        board = build_leaderboard(*comparison(HEADS, rows), settings)
        forget = row_of(board, "rmu").summary.forget
        inside += forget.low is not None and forget.low <= truth <= forget.high
    assert inside / trials >= 0.91


def _below(level: float) -> float:
    """Chance that the mean of two uniform numbers is below `level`."""
    return 2 * level**2 if level < 0.5 else 1 - 2 * (1 - level) ** 2
