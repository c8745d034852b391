"""Several measures of one benchmark in the table: values, intervals, shares, ranks, and what a reader sees of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.comparisons import comparison, of_scores
from scipy import stats

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.records.cells import Measure, Metric
from unlearnbench.records.items import ItemResult
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.records.manifest import ManifestBenchmark, ManifestMeasure
from unlearnbench.reports import explain, text
from unlearnbench.reports.formatting import notes
from unlearnbench.scoring.measures import faults, measure_score

FORGET, RETAIN = Metric(role="forget", chance=0.0), Metric(name="utility", role="retain", chance=0.0)
N = {"forget": 120, "holdout": 100, "retain": 150, "world": 90}
NUMBER = Metric(role="forget", chance=0.0, ideal=0.0, unit="points")
AREA = Metric(role="forget", chance=0.5)
MEMBERS = {"of": "truth", "parts": ["forget"], "against": ["holdout"]}
MEASURES = [
    Measure(name="quality", of="truth", metric=FORGET.model_copy(update={"ideal": 0.1}), parts=["forget"], reduction="ks"),
    Measure(name="utility", of="truth", metric=RETAIN, parts=["retain", "world"], reduction="harmonic", primary=True),
    Measure(name="rouge", metric=FORGET, parts=["forget"], primary=True),
    Measure(name="loss_auc", metric=AREA, reduction="auc", **MEMBERS),
    Measure(name="privacy", metric=NUMBER, reduction="relative-auc", **MEMBERS),
    Measure(name="gap", of="rouge", metric=FORGET.model_copy(update={"ideal": 0.0}), parts=["forget"], reduction="difference"),
]
ROWS = {"none": 1.2, "retrain": 0.0, "rmu": 0.3, "scrub": 0.7}


def head(measures=MEASURES) -> ManifestBenchmark:
    def own(measure: Measure) -> ManifestMeasure:
        claimed = {"authors": ["forget"]} if measure.metric.role == "forget" else {}
        parts = [*(measure.parts or N), *measure.against]
        return ManifestMeasure(measure=measure, parts=parts, forget_parts=claimed.get("authors", []), topics=claimed)

    return ManifestBenchmark(
        name="tofu",
        metric=RETAIN,
        parts=list(N),
        forget_parts=["forget"],
        topics={"authors": ["forget"]},
        measures=[own(measure) for measure in measures],
    )


def outcomes(row: str, seed: int = 0):
    rng = np.random.default_rng([len(row), seed])
    truth = {part: rng.normal(ROWS[row] if part == "forget" else 0.6, 0.5, n) for part, n in N.items()}
    rouge = np.clip(np.concatenate(list(truth.values())) / 3 + 0.3, 0, 1)
    plain = of_scores({part: np.zeros(n) for part, n in N.items()})
    values = {"truth": np.concatenate(list(truth.values())).astype(np.float32), "rouge": rouge.astype(np.float32)}
    return replace(plain, values=values)


def table(rows=tuple(ROWS), *, seeds=1, measures=MEASURES, reference=("retrain",), **settings) -> Leaderboard:
    found = {row: {"tofu": [outcomes(row, seed) for seed in range(seeds)]} for row in rows}
    manifest, cells, items = comparison([head(measures)], found)
    for name, cell in cells.items():
        own = items[name]
        listed = [
            ItemResult(id=i, part=p, score=0.0, values={key: float(value[at]) for key, value in own.values.items()})
            for at, (i, p) in enumerate(zip(own.ids, own.parts, strict=True))
        ]
        scores = {m.name: score for m in measures if (score := measure_score(m, list(N), listed)) is not None}
        cells[name] = cell.model_copy(update={"measures": scores})
    options = {"resamples": 1000, "reference": list(reference), **settings}
    return build_leaderboard(manifest, cells, items, TableSettings(**options))


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return table()


def of(board, row):
    return next(one for one in board.rows if one.variant == row)


def part(row, name, value="truth"):
    own = outcomes(row)
    return own.values[value][own.in_parts((name,))]


def test_columns_are_the_measures(board):
    assert [column.title for column in board.columns] == [f"tofu:{measure.name}" for measure in MEASURES]
    assert [column.title for column in board.columns if column.primary] == ["tofu:utility", "tofu:rouge"]
    assert [column.role for column in board.columns] == ["forget", "retain", "forget", "forget", "forget", "forget"]


def test_values_by_hand(board):
    """Every reduction of the row rmu, from its items."""
    rmu = of(board, "rmu").columns
    known = stats.ks_2samp(part("rmu", "forget"), part("retrain", "forget")).statistic
    assert rmu["tofu:quality"].value == pytest.approx(known, abs=1e-6)
    means = [part("rmu", "retain").mean(), part("rmu", "world").mean()]
    assert rmu["tofu:utility"].value == pytest.approx(2 / (1 / means[0] + 1 / means[1]), abs=1e-5)
    pairs = N["forget"] * N["holdout"]
    areas = {row: stats.mannwhitneyu(part(row, "forget"), part(row, "holdout")).statistic / pairs for row in ROWS}
    assert rmu["tofu:loss_auc"].value == pytest.approx(areas["rmu"], abs=1e-5)
    assert rmu["tofu:privacy"].value == pytest.approx((areas["rmu"] - areas["retrain"]) / areas["retrain"], abs=1e-5)
    gap = part("rmu", "forget", "rouge").mean() - part("retrain", "forget", "rouge").mean()
    assert rmu["tofu:gap"].value == pytest.approx(gap, abs=1e-5)


def test_reference_is_itself(board):
    own = of(board, "retrain").columns
    assert (own["tofu:quality"].value, own["tofu:privacy"].value, own["tofu:gap"].value) == (0, 0, 0)
    assert of(board, "retrain").summary.forget.value == 1


def test_only_primary_measures_count(board):
    """F is of rouge, whose ideal is the reference's score; K of the utility."""
    scores = {row: part(row, "forget", "rouge").mean() for row in ROWS}
    F = 1 - abs(scores["rmu"] - scores["retrain"]) / abs(scores["none"] - scores["retrain"])
    rmu = of(board, "rmu")
    assert rmu.summary.forget.value == pytest.approx(F, abs=1e-5)
    assert list(rmu.summary.kept) == ["tofu:utility"]
    measures = [one.model_copy(update={"primary": one.name in ("quality", "utility")}) for one in MEASURES]
    other = of(table(measures=measures), "rmu").summary.forget.value
    D = {row: of(board, row).columns["tofu:quality"].value for row in ("none", "rmu")}
    assert other == pytest.approx(1 - abs(D["rmu"] - 0.1) / abs(D["none"] - 0.1), abs=1e-5)


def test_intervals_hold_their_values(board):
    for row in board.rows:
        for title, one in row.columns.items():
            if one.low is not None:
                assert one.low <= one.value <= one.high, title
    assert of(board, "none").columns["tofu:loss_auc"].low is not None


def test_without_a_reference_what_needs_one_is_not_there():
    board = table(reference=())
    assert "tofu:quality" not in of(board, "rmu").columns
    assert "tofu:loss_auc" in of(board, "rmu").columns
    assert [column.title for column in board.columns if column.informative is None] == [
        "tofu:quality",
        "tofu:privacy",
        "tofu:gap",
    ]
    assert of(board, "rmu").rank is not None


def test_seeds_and_ranks():
    board = table(seeds=5, rank_by="tofu:loss_auc")
    rmu, scrub = of(board, "rmu"), of(board, "scrub")
    assert len(rmu.scores["tofu:loss_auc"].by_seed) == len(rmu.scores["tofu:quality"].by_seed) == 5
    assert (rmu.rank, scrub.rank) == (1, 2)


def test_table_shows_primary_measures_and_others_on_demand(board):
    plain = text.render([board], "csv")
    assert "tofu:rouge" in plain
    assert "tofu:gap" not in plain
    choices = text.Choices(measures=["gap"])
    assert "tofu:gap" in text.render([board], "csv", choices)
    assert "tofu:privacy" not in text.render([board], "csv", choices)
    assert "tofu:privacy" in text.render([board], "csv", text.Choices(measures=["all"]))
    with pytest.raises(UsageError, match=r"measure in --measures 'gop'.*tofu:gap"):
        text.render([board], "csv", text.Choices(measures=["gop"]))
    assert any("tofu:quality, tofu:loss_auc, tofu:privacy, tofu:gap; --measures all" in note for note in notes(board))


def test_explained(board):
    told = explain.render(board)
    rouge = of(board, "rmu").columns["tofu:rouge"].value
    assert f"authors: 1 - |{rouge:.3f}".replace("0.", ".") in told
    assert "tofu:utility: (" in told
    assert "tofu:utility: harmonic mean of the parts' means of truth in retain, world.\n" in told
    assert "tofu:privacy: AUC against holdout, less the reference's AUC A, over A of truth in forget; counts neither" in told


def test_round_trip(board):
    assert Leaderboard.model_validate_json(board.model_dump_json(by_alias=True)) == board
    record = json.loads(board.model_dump_json(by_alias=True))
    assert record["schema"] == 2
    assert record["attacks"] is None
    assert record["rows"][0]["attacks"] is None


def test_resamples_are_the_same_for_every_measure_of_a_benchmark():
    """Two measures of the same values have the same draws, so that they are paired."""
    twice = [MEASURES[1], MEASURES[2], MEASURES[2].model_copy(update={"name": "again", "of": "rouge", "primary": False})]
    board = table(measures=twice)
    own = of(board, "scrub").columns
    assert own["tofu:rouge"] == own["tofu:again"]


def test_harmonic_mean_over_several_values():
    """Model utility: every value's mean in every part, in the cell as in the table, with an interval of its own."""
    both = Measure(name="model_utility", of=["truth", "rouge"], metric=RETAIN, parts=["retain", "world"], reduction="harmonic")
    own = [*MEASURES[2:3], both]
    board = table(measures=own)
    means = [part("rmu", where, value).mean() for where in ("retain", "world") for value in ("truth", "rouge")]
    found = of(board, "rmu").columns["tofu:model_utility"]
    assert found.value == pytest.approx(4 / sum(1 / mean for mean in means), abs=1e-5)
    assert found.low < found.value < found.high
    assert "tofu:model_utility: harmonic mean of the parts' means of truth, rouge in retain, world" in explain.render(board)
    items = [ItemResult(id="a", part="retain", score=0.0, values={"truth": 0.5})]
    assert measure_score(both, list(N), items) is None


def test_several_values_are_for_harmonic_means():
    several = Measure(name="a", of=["truth", "rouge"], metric=RETAIN)
    assert "takes one value" in next(iter(faults([several], list(N))))


def test_p_value_beside_the_distance():
    """Its logarithm, since 1e-22 and 1e-24 are told apart; without an interval."""
    p = Measure(name="forget_quality_log10_p", of="truth", metric=NUMBER, parts=["forget"], reduction="ks-log-p")
    board = table(measures=[*MEASURES, p])
    known = stats.ks_2samp(part("rmu", "forget"), part("retrain", "forget")).pvalue
    found = of(board, "rmu").columns["tofu:forget_quality_log10_p"]
    assert (found.value, found.low) == (pytest.approx(np.log10(known), abs=1e-5), None)
    assert of(board, "retrain").columns["tofu:forget_quality_log10_p"].value == 0
    without = table(("none", "rmu"), measures=[*MEASURES, p], reference=())
    assert "tofu:forget_quality_log10_p" not in of(without, "rmu").columns


def test_no_distance_from_the_reference_is_too_small():
    """The reference's own distance is 0, below what two models that never knew have: nothing is avoided, and F is 1."""
    quality = MEASURES[0].model_copy(update={"primary": True})
    board = table(measures=[quality, MEASURES[1]])
    reference = of(board, "retrain")
    assert reference.columns["tofu:quality"].value == 0
    assert reference.summary.forget.value == 1
    assert [evidence.rule for evidence in reference.evidence if evidence.rule == "inverted"] == []
    assert 0 < of(board, "rmu").summary.forget.value < 1
