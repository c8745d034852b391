"""The facts a comparison leaves behind, as frozen models with a JSON round trip."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["forget", "retain"]
Half = Literal["selection", "reporting"]  # of a benchmark's items: what settings are chosen on, what they are reported on


class Record(BaseModel):
    """Frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(Record):
    """What a benchmark's scores mean.

    Attributes:
        name: accuracy, rating.
        role: what the benchmark measures unless a topic claims a part of it: knowledge to forget or to retain.
        better: which direction is better for a model as such (for `forget` parts the table turns it round).
        chance: the score of a model that knows nothing.
        unit: `fraction` or `points`.
        note: stands in the column's head: who judged.
    """

    name: str = "accuracy"
    role: Role
    better: Literal["higher", "lower"] = "higher"
    chance: float
    unit: str = "fraction"
    note: str = ""


class Job(Record):
    """One unit of work: unlearn once, then score every benchmark.

    Attributes:
        variant: the row of the table.
        method: the plugin's name; `checkpoint` for somebody's finished model.
        seed: for everything random.
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
    """What a cell cost; unlearning is counted in each cell of its job.

    Attributes:
        unlearn_seconds: wall clock of the fit, without loading, and of what it reused.
        reused_seconds: the share of it that an earlier run spent, on tensors that were kept and taken again.
        evaluate_seconds: wall clock of scoring.
        look_seconds: wall clock of scoring while it was unlearning, which `unlearn_seconds` does not count.
        peak_bytes: largest resident memory of the job's process from the job's beginning, where the system tells.
        peak_gpu_bytes: largest allocation on the GPU during the job; None on CPU.
        trained_parameters: numbers that the method may change.
        tokens: seen by training, padding not counted; what was reused counts as seen.
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
        """Whether it is done but for items without a score (some, or all, which is a failure) or without all ratings."""
        return self.asked is not None and (self.n < self.asked or self.partial > 0)


@dataclass(frozen=True, slots=True)
class Question:
    """One multiple-choice item as the model sees it.

    Attributes:
        id: stable across runs.
        part: which part of the benchmark it belongs to.
        context: the prompt.
        continuations: one per option, each with the space that separates it from the context.
        answer: index of the right option.
        stem: the question as a person reads it; empty where the context is all there is.
        options: their texts; empty where the continuations are.
    """

    id: str
    part: str
    context: str
    continuations: tuple[str, ...]
    answer: int
    stem: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemText:
    """What one item asks, for people to read: shown in reports, never scored.

    Attributes:
        id: of the item that it belongs to.
        text: the question, or the user's turn.
        options: texts to choose from; none where an answer is written.
        reference: an answer to compare with, where there is one.
    """

    id: str
    text: str
    options: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """What happened on one item of a benchmark.

    Attributes:
        id: stable across runs: part and position in the data. What is called `ID/turn-1`, `ID/turn-2` is one conversation,
            and intervals resample it as a whole.
        part: bio, virology, turn 2.
        score: what the item adds to the mean: 1.0 or 0.0 for a choice, points for a rating.
        choice: index of the chosen option; None where nothing is chosen.
        answer: index of the right option; None where there is none.
        logprobs: nats, one per option: the sum over its tokens, or the mean per token for cloze scoring.
        tokens: length of the longest scored sequence.
        truncated: whether the context was cut from the left to fit the model.
        text: what the model answered, where it wrote an answer.
        question: what it was asked, where it wrote an answer.
        ratings: what a judge gave, where it was asked; the score is their mean.
        judgment: the judge's words.
        error: why the item has no score, which is then NaN and counts in no mean; or fewer ratings than were asked for.
    """

    id: str
    part: str
    score: float
    choice: int | None = None
    answer: int | None = None
    logprobs: tuple[float, ...] = ()
    tokens: int = 0
    truncated: bool = False
    text: str = ""
    question: str = ""
    ratings: tuple[float, ...] = ()
    judgment: str = ""
    error: str = ""

    @property
    def scored(self) -> bool:
        """Whether it has a score."""
        return not math.isnan(self.score)
