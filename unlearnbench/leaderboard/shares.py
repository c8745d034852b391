"""The summary of a row: F, the share of forget knowledge that is gone; K, the share of retain knowledge left; S; pure.

    F = mean over topics of clip(1 - |score - ideal| / |base - ideal|, 0, 1)
    K = minimum over what is to be kept of clip((score - chance) / (base - chance), 0, 1)
    S = 2 F K / (F + K)

The ideal is what a model that never knew scores: the reference's score where there is a reference, else chance. A topic that
several benchmarks measure has the mean of their shares. Where base and ideal, or base and chance, are not significantly apart,
there is no share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearnbench.records.cells import Metric
from unlearnbench.records.leaderboard import BenchmarkInfo, Column, ColumnRole
from unlearnbench.records.manifest import ManifestBenchmark

Floats = NDArray[np.floating]
LEAST = 1e-9  # a resampled base that fell to chance knows nothing, but is not divided by


class Subset(NamedTuple):
    """Some parts of a benchmark: one figure is the mean over them."""

    benchmark: str
    parts: tuple[str, ...]


class ShareTarget(NamedTuple):
    """A subset that counts: for a topic to be forgotten, or as a column to be kept.

    Attributes:
        name: topic, or title of the column.
        subset: subset that its score is the mean over.
        chance: score without knowledge; of a forget target the ideal, where its measure declares a number.
        referred: True where the reference's score is the ideal, if there is one.
        folds: False where a score beyond the ideal is as good as the ideal: no distance from the reference is too small.
    """

    name: str
    subset: Subset
    chance: float
    referred: bool = False
    folds: bool = True


class Shares(NamedTuple):
    """Shares of what the base knew; every array has the shape of the scores.

    Attributes:
        forget: F.
        keep: K; NaN where nothing that is to be kept is informative, as F where no topic is.
        score: S.
        straight: F neither clipped at 0 nor folded at the ideal, on the side of the ideal where the row is: resampled, its
            ends are not pulled inwards as those of F are.
        straight_score: S of that, cut to [0, 1], and K.
        topics: share that is gone, by topic.
        kept: share that is left, by retain column.
        left: share that is left, by topic, neither clipped nor folded; negative beyond the ideal.
    """

    forget: Floats
    keep: Floats
    score: Floats
    straight: Floats
    straight_score: Floats
    topics: dict[str, Floats]
    kept: dict[str, Floats]
    left: dict[str, Floats]


def columns_of(head: ManifestBenchmark) -> list[Column]:
    """Return one column per benchmark; where only some parts are to be forgotten, one for each of them and one for the rest."""
    others = [part for part in head.parts if part not in head.forget_parts]
    rest: ColumnRole = "untargeted" if head.metric.role == "forget" else "retain"

    def column(title: str, parts: list[str] | None, role: ColumnRole) -> Column:
        metric = head.metric
        return Column(
            title=title,
            benchmark=head.name,
            parts=parts,
            role=role,
            chance=metric.chance,
            note=metric.note,
            primary=head.primary,
        )

    if not head.forget_parts or not others or is_whole(head):
        return [column(head.name, None, "forget" if head.forget_parts else rest)]
    title = f"{head.name}/{others[0]}" if len(others) == 1 else f"{head.name} (other {len(others)})"
    targeted = [column(f"{head.name}/{part}", [part], "forget") for part in head.forget_parts]
    return [*targeted, column(title, others, rest)]


def is_whole(head: ManifestBenchmark | BenchmarkInfo) -> bool:
    """True for a measure with one figure for all its parts together, which no part has by itself."""
    return head.measure is not None and head.measure.reduction != "mean"


def subset_of(column: Column, head: ManifestBenchmark) -> Subset:
    """Return the subset that a column is the mean over."""
    return Subset(head.name, tuple(head.parts if column.parts is None else column.parts))


def forget_targets(heads: Sequence[ManifestBenchmark]) -> list[ShareTarget]:
    """Return the targets that F may count, topic by topic."""
    return [
        ShareTarget(
            topic,
            Subset(head.name, tuple(head.parts if is_whole(head) else parts)),
            *declared_ideal(head.metric),
            folds=head.measure is None or head.measure.reduction != "ks",
        )
        for head in heads
        for topic, parts in head.topics.items()
        if head.primary
    ]


def declared_ideal(metric: Metric) -> tuple[float, bool]:
    """Return the ideal of parts to forget without a reference, and whether the reference's score stands in its place."""
    if isinstance(metric.ideal, float):
        return metric.ideal, False
    return metric.chance, metric.ideal in (None, "reference")


def keep_targets(heads: Sequence[ManifestBenchmark]) -> list[ShareTarget]:
    """Return the targets that K may count, column by column."""
    return [
        ShareTarget(column.title, subset_of(column, head), column.chance)
        for head in heads
        for column in columns_of(head)
        if column.role == "retain" and column.primary
    ]


def share_left(score: Floats, base: Floats, ideal: Floats | float) -> Floats:
    """Return (score - ideal) / (base - ideal): negative on the far side of the ideal."""
    known = base - ideal
    return (score - ideal) / np.where(np.abs(known) < LEAST, LEAST, known)


def share_gone(score: Floats, base: Floats, ideal: Floats | float) -> Floats:
    """Return 1 - |score - ideal| / |base - ideal|, clipped to [0, 1]: beyond the ideal is knowledge avoided, not knowledge
    gone.
    """
    return np.clip(1 - np.abs(share_left(score, base, ideal)), 0, 1)


def share_kept(score: Floats, base: Floats, chance: float) -> Floats:
    """Return (score - chance) / (base - chance), clipped to [0, 1]."""
    return np.clip(share_left(score, base, chance), 0, 1)


def harmonic(forget: Floats, keep: Floats) -> Floats:
    """Return 2 F K / (F + K); 0 where both are."""
    return 2 * forget * keep / np.where(forget + keep > 0, forget + keep, 1)


def summarise(
    forget: Sequence[ShareTarget],
    keep: Sequence[ShareTarget],
    scores: Mapping[Subset, Floats],
    base: Mapping[Subset, Floats],
    below: Collection[Subset] = (),
    ideals: Mapping[Subset, Floats] | None = None,
) -> Shares:
    """Compute F, K and S.

    Args:
        forget: informative targets of F; several of one topic are averaged first.
        keep: informative targets of K.
        scores: scores of the row, by subset; any shape.
        base: scores of the untouched model; a shape that broadcasts.
        below: subsets where the row as it is, not resampled, is beyond the ideal.
        ideals: scores of the reference on forget targets, of a shape that broadcasts; chance is the ideal of the others.
    """
    ideals = ideals or {}
    nothing = np.full(np.shape(next(iter(scores.values()), np.nan)), np.nan)
    gone: dict[str, list[Floats]] = {}
    straight: dict[str, list[Floats]] = {}
    signed: dict[str, list[Floats]] = {}
    for topic, subset, chance, _, folds in forget:
        ideal = ideals.get(subset, chance)
        left = share_left(scores[subset], base[subset], ideal)
        if not folds:
            left = np.maximum(left, 0)
        signed.setdefault(topic, []).append(left)
        share = share_gone(scores[subset], base[subset], ideal) if folds else np.clip(1 - left, 0, 1)
        gone.setdefault(topic, []).append(share)
        straight.setdefault(topic, []).append(1 + left if subset in below else 1 - left)
    topics = {topic: np.mean(shares, axis=0) for topic, shares in gone.items()}
    kept = {title: share_kept(scores[subset], base[subset], chance) for title, subset, chance, *_ in keep}
    F = np.mean(list(topics.values()), axis=0) if topics else nothing  # noqa: N806 - as in the formula
    K = np.min(list(kept.values()), axis=0) if kept else nothing  # noqa: N806
    unfolded = np.mean([np.mean(shares, axis=0) for shares in straight.values()], axis=0) if straight else nothing
    left = {topic: np.mean(shares, axis=0) for topic, shares in signed.items()}
    return Shares(F, K, harmonic(F, K), unfolded, harmonic(np.clip(unfolded, 0, 1), K), topics, kept, left)
