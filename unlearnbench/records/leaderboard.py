"""The records of a leaderboard: the table as in leaderboard.json, and its settings."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from unlearnbench.records.base import Record
from unlearnbench.records.cells import Cost, Measure
from unlearnbench.records.manifest import ManifestAttack

ColumnRole = Literal["forget", "retain", "untargeted"]
Status = Literal["done", "failed", "diverged", "pending"]
Verdict = Literal["reference", "failed", "diverged", "collapsed", "inverted", "no-effect", "hidden", "forgot-damaged", "forgot"]
UNRANKED: tuple[Verdict, ...] = ("failed", "diverged", "collapsed")
DAMAGE_MARGIN = 0.05
REFERENCE_MARGIN = 0.1
HIDDEN_MARGIN = 0.25


class TableSettings(Record):
    """The settings of a table.

    Attributes:
        rank_by: column that ranks go by: `score` (S), `forget` (F), `keep` (K), or a column of scores by its title or
            benchmark.
        damage_margin: share of the retain knowledge that a row may lose and still be called `forgot`.
        reference: rows that never knew what is to be forgotten, whose mean score is the ideal; without any, chance is. None
            takes the recipe's.
        reference_margin: share of the distance from the reference to the base within which a row reaches the reference.
        level: level of every interval; tests are at 1 - level, after Holm.
        resamples: number of resamples of the items.
    """

    rank_by: str = "score"
    damage_margin: float = Field(default=DAMAGE_MARGIN, ge=0, lt=1)
    reference: list[str] | None = None
    reference_margin: float = Field(default=REFERENCE_MARGIN, gt=0, lt=1)
    level: float = Field(default=0.95, gt=0, lt=1)
    resamples: int = 10_000


class Estimate(Record):
    """A figure with its 95% interval; the interval is null where there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Score(Estimate):
    """A row's score on one benchmark: mean over seeds, and each seed and part.

    Attributes:
        by_seed: score of each seed.
        coverage: share of the items that have a score, over all seeds; a seed that is not finished has none.
        scored: items with a score, over the finished seeds.
        asked: number of items with and without a score.
        missing: reasons why items have no score, each with its number of items.
        partial: number of scores that rest on fewer ratings than were asked for, over the finished seeds.
        figures: figures that the benchmark reports beside its score, by name; means over seeds.
        parts: scores over the benchmark's parts.
        groups: scores over several parts together, without intervals, or over one turn of all conversations, with them; groups
            may overlap.
        truncated: number of items whose context was cut to fit the model.
    """

    by_seed: dict[str, float] = {}
    coverage: float = 1.0
    scored: int | None = None
    asked: int | None = None
    missing: dict[str, int] = {}
    partial: int = 0
    figures: dict[str, float] = {}
    parts: dict[str, Estimate] = {}
    groups: dict[str, Estimate] = {}
    truncated: int = 0


class SeedShares(Record):
    """F, K and S of one seed; null where they are undefined."""

    forget: float | None
    keep: float | None
    score: float | None


class Summary(Record):
    """forget: share of targeted knowledge gone; keep: share of retained knowledge left; score: their harmonic mean.

    Attributes:
        best_share: share of resamples in which the row is best of those that are ranked.
        pareto: True where no ranked row is at least as good in both F and K and better in one.
        topics: share of each topic that is gone; F is their mean.
        kept: share of each retain column that is left; K is the smallest.
        by_seed: F, K and S of each seed alone.
        distances: distance of the row from the reference on each topic, as a share of the base's distance; negative beyond it.
        reaches: True where every topic's distance lies within the margin (two one-sided tests at 1 - level each, paired); None
            without a reference.
    """

    forget: Estimate
    keep: Estimate
    score: Estimate
    best_share: float | None = None
    pareto: bool | None = None
    topics: dict[str, float] = {}
    kept: dict[str, float] = {}
    by_seed: dict[str, SeedShares] = {}
    distances: dict[str, Estimate] = {}
    reaches: bool | None = None


class Evidence(Record):
    """The evidence of a verdict: a rule, the value that it applied to and what that was compared with."""

    rule: str
    value: float | str
    threshold: float | str


class AttackedScores(Record):
    """The six scores of a forget measure, on the same items.

    Attributes:
        base: score of the untouched model; `row` and `reference` likewise.
        row: score of the row.
        reference: score of the rows that never knew; None where there are none.
        base_attacked: score of the untouched model under the attack; `row_attacked` and `reference_attacked` likewise.
        row_attacked: score of the row under the attack.
        reference_attacked: score of the rows that never knew under the attack; None where they were not attacked.
    """

    base: float
    row: float
    reference: float | None = None
    base_attacked: float
    row_attacked: float
    reference_attacked: float | None = None


class AttackTrial(Record):
    """The trial of an attack that was chosen on the half of the items that is not reported.

    Attributes:
        seed: seed of the attack.
        trial: settings of the trial; None where the model as it was came out best.
        at: step of the attack that was chosen, counted as the attack.s `axis` says.
    """

    seed: int
    trial: dict[str, Any] | None = None
    at: int | None = None


class WorstAttack(Record):
    """The figures of the attack that brings most back, chosen by the selection half and reported on the other one.

    Attributes:
        chosen_by: R on the selection half, or LA where no attack has an R there.
        left: share of the base's knowledge that is left under the attack, LA.
        recovered: share of what seemed gone that came back, R.
        gone: F under the attack, F'.
        of: number of attacks that it was chosen among.
    """

    chosen_by: float
    left: Estimate | None = None
    recovered: Estimate | None = None
    gone: Estimate | None = None
    of: int


class AttackResult(Record):
    """The result of an attack on a row; figures are not clipped, and None where they may not be said.

    Attributes:
        columns: score under the attack, by the title of the forget column.
        scores: the six scores of each forget measure, by topic and benchmark.
        left_before: share of the base's knowledge that is left before the attack, L0.
        left: share that is left under the attack, LA.
        recovered: share of what seemed gone that came back, R.
        gone: F under the attack, F'.
        topics: L0 and LA of each informative topic.
        counted: True where the figures may lead to a verdict.
        notes: reasons why a figure is not there, and doubts.
        chosen: chosen trial of each seed; none where nothing is chosen.
        figures: figures that the attack tells beside the scores, by name; means over seeds.
        before: score on the selection half before the attack, mean over seeds; None where nothing is chosen.
        curve: best score on the selection half at each step of the attack, over its trials, mean over seeds.
        failed: number of cells under the attack that failed.
        worst: figures as the row's worst case; None where another attack is that.
    """

    columns: dict[str, Estimate] = {}
    scores: dict[str, AttackedScores] = {}
    left_before: Estimate | None = None
    left: Estimate | None = None
    recovered: Estimate | None = None
    gone: Estimate | None = None
    topics: dict[str, tuple[float, float]] = {}
    counted: bool = False
    notes: list[str] = []
    chosen: list[AttackTrial] = []
    figures: dict[str, float] = {}
    before: float | None = None
    curve: dict[int, float] = {}
    failed: int = 0
    worst: WorstAttack | None = None


class RowCost(Cost):
    """The cost of a row, and its share of the cost of retraining.

    Attributes:
        of_retraining: share of the cost of retraining the reference, where the reference has a record of it; mean over its
            rows.
        shared_by: measure of that share: seconds of unlearning where row and reference were trained on the same device, else
            tokens seen by training.
    """

    of_retraining: float | None = None
    shared_by: Literal["seconds", "tokens"] | None = None


class Row(Record):
    """One row of the table.

    Attributes:
        intervals: source of variation in the intervals: `items`, `items; these seeds` or `items and seeds`; None where there
            are none yet.
        columns: figure of each column, by its title.
        attacks: result of each attack, by its label; None where the comparison has no attacks.
        tuned: label of settings that a search found: `tuned 8`.
    """

    variant: str
    method: str
    hash: str
    tuned: str | None = None
    rank: int | None
    verdict: Verdict | None = None
    evidence: list[Evidence] = []
    status: Status
    seeds: list[int]
    intervals: str | None = None
    summary: Summary | None
    scores: dict[str, Score]
    columns: dict[str, Estimate] = {}
    attacks: dict[str, AttackResult] | None = None
    cost: RowCost


class Column(Record):
    """One column of scores: a benchmark, or some of its parts.

    Attributes:
        parts: parts of the benchmark; None for all of them.
        ideal: score that unlearning should come to, where it is to be forgotten; None elsewhere, and where the reference has no
            score yet.
        informative: true where base and ideal are significantly apart; None where one of them is not scored.
        primary: true where it counts in F or K, if its role does; a table shows the others on demand.
    """

    title: str
    benchmark: str
    parts: list[str] | None
    role: ColumnRole
    chance: float
    ideal: float | None = None
    note: str = ""
    informative: bool | None = None
    primary: bool = True


class BenchmarkInfo(Record):
    """A table's entry on a benchmark or on one of its measures; informative if one of its columns or topics is.

    Attributes:
        measure: definition of the measure, where the benchmark has several.
    """

    name: str
    metric: str
    role: str
    better: str
    chance: float
    unit: str
    informative: bool | None
    measure: Measure | None = None


class TopicInfo(Record):
    """A topic that was to be forgotten; `ideal` and `informative` as in `Column`.

    Attributes:
        parts: parts that measure it, as BENCHMARK/PART.
        ideal: score that unlearning should come to; None where several benchmarks measure the topic, too.
    """

    name: str
    parts: list[str]
    ideal: float | None = None
    informative: bool | None


class PairTest(Record):
    """Two rows on identical items.

    Attributes:
        difference: difference of the first less the second in the ranked figure; null, as what follows, where one is not
            ranked.
        p: p value, two-sided, adjusted after Holm over all pairs.
        better: row that is significantly better, or null.
        mcnemar: exact p of McNemar's test, by column of right and wrong answers, where each row has one seed; after Holm over
            all pairs.
    """

    rows: tuple[str, str]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    better: str | None = None
    mcnemar: dict[str, float] = {}


class Leaderboard(Record):
    """The table of a comparison, as in leaderboard.json.

    Attributes:
        reference: rows that never knew what is to be forgotten; empty where chance stands in for them.
        attacks: attacks on every row; None where there are none.
        best: best row of each figure (a column's title, `forget`, `keep`, `score`): the ranked row that is significantly better
            than every other ranked row there, where one is: paired, Holm over all pairs of the figure, 5%.
        unranked: reason why nothing is ranked, where nothing is.
    """

    schema_version: Literal[1, 2] = Field(default=2, alias="schema", serialization_alias="schema")
    recipe: dict[str, Any]
    settings: TableSettings = TableSettings()
    reference: list[str] = []
    benchmarks: list[BenchmarkInfo]
    topics: list[TopicInfo] = []
    columns: list[Column]
    attacks: list[ManifestAttack] | None = None
    rows: list[Row]
    pairs: list[PairTest] = []
    best: dict[str, str] = {}
    unranked: str | None = None
    failures: list[dict[str, str]]
