"""The facts that a comparison leaves behind, as frozen models with a JSON round trip."""

from __future__ import annotations

from typing import Any, Literal

from unlearnbench.records.base import Record, Role

Ideal = Literal["chance", "base", "reference"] | float


class Metric(Record):
    """The meaning of a benchmark's scores.

    Attributes:
        name: name of the metric: accuracy, rating.
        role: role of the benchmark unless a topic claims a part of it: it measures knowledge to forget or to retain.
        better: direction that is better for a model as such (for `forget` parts the table reverses it).
        chance: score of a model that knows nothing.
        ideal: score that unlearning should come to. On parts to forget: `chance`, `reference` (the score of a model that
            never knew) or a number; None is the reference where the comparison names one, else chance. On parts to keep:
            `base` or `reference`; None is the base.
        unit: unit of the scores: `fraction` or `points`.
        note: note in the column's head, such as the judge's name.
    """

    name: str = "accuracy"
    role: Role
    better: Literal["higher", "lower"] = "higher"
    chance: float
    ideal: Ideal | None = None
    unit: str = "fraction"
    note: str = ""


class Job(Record):
    """One unit of work: unlearn once, then score every benchmark.

    Attributes:
        variant: row of the table.
        method: name of the plugin; `checkpoint` for a finished model.
        seed: seed of everything random.
        identity: hash of all that may change the unlearned weights.
    """

    variant: str
    method: str
    seed: int
    identity: str


class CellKey(Record):
    """(variant, benchmark, seed): the name of one durable result."""

    variant: str
    benchmark: str
    seed: int

    def __str__(self) -> str:
        return f"{self.variant}/{self.benchmark}/{self.seed}"


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
    """A score over some of a benchmark's items."""

    value: float
    n: int


class CellResult(Record):
    """One finished cell: a score, its parts, and everything needed to trust it.

    `parts` divide the items; `groups` are unions of parts and may overlap. `truncated` counts the items whose context was
    cut to fit the model. `n` counts the items with a score, `asked` all of them; where they differ, `missing` has the
    reasons, each with its number of items. `partial` counts the scores that fewer ratings bear than were asked for. `figures`
    are what a benchmark tells beside its score, by name. `items_hash` is the sha256 of the file of per-item results,
    `checksum` that of the record as JSON without this entry.
    """

    schema_version: Literal[1] = 1
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
    items_hash: str | None = None
    checksum: str | None = None
    cost: Cost = Cost()
    provenance: dict[str, Any] = {}

    @property
    def incomplete(self) -> bool:
        """Return whether it is done but for items without a score (some, or all, which is a failure) or without all ratings."""
        return self.asked is not None and (self.n < self.asked or self.partial > 0)
