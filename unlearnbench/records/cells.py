"""The facts that a comparison leaves behind, as frozen models with a JSON round trip."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from unlearnbench.records.base import Record, Role

Ideal = Literal["chance", "base", "reference"] | float
"""The type of the score to aim at: a named score of the comparison, or a number; see `Metric`."""
Reduction = Literal["mean", "harmonic", "auc", "ks", "ks-log-p", "difference", "relative-auc"]
"""The type of the formula from the items' values to a measure's figure; see `Measure`."""
OF_REFERENCE: tuple[Reduction, ...] = (
    "ks",
    "ks-log-p",
    "difference",
    "relative-auc",
)  # these need the items of a model that never knew
SCORE = "score"  # the value that every item has
SELECTION = "in_selection_half"  # value of an item under attack: 1 in the half that attacks choose on, 0 in the other
MEASURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Metric(Record):
    """The meaning of a benchmark's scores.

    Attributes:
        name: name for people, such as accuracy or rating.
        role: kind of knowledge that is measured, to `forget` or to `retain`, for parts that no topic claims.
        better: better direction for a model as such; for `forget` parts the table turns it round.
        chance: the score of a model that knows nothing.
        ideal: score that unlearning should reach. On parts to forget: `chance`, `reference` (the score of a model that never
            knew) or a number; None is the reference where the comparison names one, else chance. On parts to keep it is always
            the base's score.
        unit: `fraction` or `points`.
        note: note in the column's head, such as the judge's name.
    """

    name: str = "accuracy"
    role: Role
    better: Literal["higher", "lower"] = "higher"
    chance: float
    ideal: Ideal | None = None
    unit: str = "fraction"
    note: str = ""


class Measure(Record):
    """One of several figures that a benchmark computes from one pass over its items.

    Attributes:
        name: name of letters, digits and underscores, lower case unless others know it in another; the column is called
            BENCHMARK:NAME.
        metric: meaning of the figure: its role, direction, chance and ideal.
        of: item value that it is computed from, a key of `ItemResult.values` or `score`; by default the measure's name. For
            `harmonic` a list of several is allowed.
        parts: parts whose items count; None for all of the benchmark's.
        against: parts of the non-members, for `auc` and `relative-auc`; `parts` are then those of the members.
        reduction: formula from the items' values to the figure: `mean` over items; `harmonic`, harmonic mean of the parts'
            means, of each value in each part where there are several values; `auc`, probability that a member's value is above
            a non-member's; `ks`, two-sample Kolmogorov-Smirnov statistic against the reference's values; `ks-log-p`, logarithm
            to base 10 of that test's p value; `difference` of the mean from the reference's; `relative-auc`,
            (AUC - A) / A with A the AUC of the reference.
        primary: true where it counts in F or K, unless the recipe names the measures that do.
    """

    name: str
    metric: Metric
    of: str | Annotated[list[str], Field(min_length=2)] = ""
    parts: Annotated[list[str], Field(min_length=1)] | None = None
    against: list[str] = []
    reduction: Reduction = "mean"
    primary: bool = False

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not MEASURE_NAME.fullmatch(name):
            raise ValueError(f"a measure's name has letters, digits and underscores, as in forget_quality; got {name!r}")
        return name

    @property
    def value(self) -> str:
        """The name of the item value that it is computed from, the first of several."""
        return self.values[0]

    @property
    def values(self) -> list[str]:
        """The names of the item values that it is computed from."""
        return [self.of or self.name] if isinstance(self.of, str) else self.of


class Job(Record):
    """One unit of work: unlearn once, then score every benchmark.

    Attributes:
        variant: the row of the table.
        method: the plugin's name; `checkpoint` for a finished model.
        seed: the seed of everything random.
        identity: the hash of all that may change the unlearned weights.
    """

    variant: str
    method: str
    seed: int
    identity: str


class CellKey(Record):
    """The name of one durable result.

    Attributes:
        variant: the row of the table.
        benchmark: the column's benchmark.
        seed: the seed of everything random.
        attack: label of the attack on the row before it was scored; None where it was not attacked.
    """

    variant: str
    benchmark: str
    seed: int
    attack: str | None = None

    def __str__(self) -> str:
        attack = "" if self.attack is None else f"!{self.attack}"
        return f"{self.variant}/{self.benchmark}/{self.seed}{attack}"

    def within(self, seed: int) -> str:
        """Return the cell's name within its job: its benchmark, and for an attacked one the attack.

        Args:
            seed: seed of the job; an attacked cell may have another, where the row itself has none.
        """
        if self.attack is None:
            return self.benchmark
        other = "" if self.seed == seed else f" {self.seed}"
        return f"{self.benchmark} under {self.attack}{other}"

    @classmethod
    def read(cls, variant: str, name: str, seed: int) -> CellKey:
        """Return the key of a cell within a job, by the name that `within` gives; no name of a benchmark has a space.

        Args:
            variant: row of the job.
            name: name of the cell within the job.
            seed: seed of the job.
        """
        benchmark, _, attacked = name.partition(" under ")
        attack, _, other = attacked.partition(" ")
        return cls(variant=variant, benchmark=benchmark, seed=int(other) if other else seed, attack=attack or None)


class Cost(Record):
    """The cost of a cell; unlearning is counted in each cell of its job.

    Attributes:
        unlearn_seconds: wall-clock seconds of the fit, without loading, and of what it reused.
        reused_seconds: share of these seconds that an earlier run spent, on tensors that were kept and taken again.
        evaluate_seconds: wall-clock seconds of scoring.
        look_seconds: wall-clock seconds of scoring while it was unlearning, which `unlearn_seconds` does not count.
        peak_bytes: largest resident memory of the job's process from the job's beginning, in bytes, where the system tells.
        peak_gpu_bytes: largest allocation on the GPU during the job, in bytes; None on CPU.
        trained_parameters: count of numbers that the method may change.
        tokens: tokens seen by training, padding not counted; what was reused counts as seen.
    """

    unlearn_seconds: float | None = None
    reused_seconds: float | None = None
    evaluate_seconds: float | None = None
    look_seconds: float | None = None
    peak_bytes: int | None = None
    peak_gpu_bytes: int | None = None
    trained_parameters: int | None = None
    tokens: int | None = None


class PartScore(Record):
    """A score over some of a benchmark's items.

    Attributes:
        value: the mean score of these items, in the metric's unit.
        n: the number of items with a score.
    """

    value: float
    n: int


class MeasureScore(Record):
    """A measure of one cell.

    Attributes:
        value: the figure, in the metric's unit; None where it needs the items of a reference, which only a table has.
        n: the number of items that count.
        parts: the means over the parts, by name.
    """

    value: float | None
    n: int
    parts: dict[str, PartScore] = {}


class CellResult(Record):
    """One finished cell: a score, its parts, and everything needed to trust it.

    Attributes:
        schema_version: the version of this record's layout.
        key: row, benchmark and seed.
        identity: the hash of all that may change the score.
        status: `done`, `failed`, or `diverged` where the unlearned weights are not finite.
        error: the reason why it failed; None where it did not.
        metric: the meaning of the score; None where nothing was scored.
        value: the mean score of the items, in the metric's unit; None where nothing was scored.
        n: the number of items with a score.
        asked: the number of all items.
        missing: the reasons for items without a score, each with its number of items.
        partial: the number of scores that rest on fewer ratings than were asked for.
        figures: further figures of the benchmark, by name.
        truncated: the number of items whose context was cut to fit the model.
        parts: the scores of the benchmark's parts, by name; they divide the items.
        groups: the scores of groups of parts, by name; they may overlap.
        measures: figures computed from the items' values, by the measure's name.
        items_hash: the sha256 of the file of per-item results.
        checksum: the sha256 of the record as JSON without this entry.
        cost: time, memory and tokens.
        provenance: the score's origin: versions, options, hashes, machine.
    """

    schema_version: Literal[1, 2] = 2
    key: CellKey
    identity: str
    status: Literal["done", "failed", "diverged"]
    error: str | None = None
    metric: Metric | None = None
    value: float | None = None
    n: int = 0
    asked: int | None = None
    missing: dict[str, int] = {}
    partial: int = 0
    figures: dict[str, float] = {}
    truncated: int = 0
    parts: dict[str, PartScore] = {}
    groups: dict[str, PartScore] = {}
    measures: dict[str, MeasureScore] = {}
    items_hash: str | None = None
    checksum: str | None = None
    cost: Cost = Cost()
    provenance: dict[str, Any] = {}

    @property
    def incomplete(self) -> bool:
        """True where items have no score, or not all their ratings."""
        return self.asked is not None and (self.n < self.asked or self.partial > 0)
