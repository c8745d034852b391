"""Scores of every run on every subset of the items, measured and over resampled items; pure functions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.intervals import estimate, limits_of
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.shares import Shares, ShareTarget, Subset, is_whole, share_left, summarise
from unlearnbench.leaderboard.statistics import LEVEL, Quantity, draws_of_certainty, ratio, resampled_counts, resampled_means
from unlearnbench.records.cells import OF_REFERENCE, CellResult, Measure, PartScore
from unlearnbench.records.items import TURN
from unlearnbench.records.leaderboard import Estimate
from unlearnbench.records.manifest import ManifestBenchmark
from unlearnbench.scoring.reductions import auc, harmonic, ks, ks_log_p

Floats = NDArray[np.floating]
SEED = 20_240_305  # of all resampling: the same cells give the same table
KS_STRETCH = 1.5  # 95% intervals then cover .93 and more at 40 to 400 items (test_coverage.py); unstretched .67 to .92
AT_ONCE = 125  # resamples whose items are sorted at once, for figures that are no means: some MB


class Run(NamedTuple):
    """One seed of one row."""

    variant: str
    seed: int


class Level(NamedTuple):
    """A score that rows are compared with, and its draws over resampled items.

    Attributes:
        value: mean over runs.
        draws: (R,), means over runs in each resample; R is 0 where there are no items to resample.
    """

    value: float
    draws: Floats


class ResampledScores:
    """Values and draws of subsets, run by run.

    Attributes:
        runs: runs, in the order of the rows of every array here.
        values: (runs,) scores by subset; NaN where the cell is missing.
        draws: (runs, R) scores over resampled items, by subset; R is 0 where there are no items to resample.
        units: number of resampled units, by subset.
        parts: estimate of each variant, by (benchmark, part).
        turns: estimate of each variant, by (benchmark, turn) of conversations.
    """

    def __init__(self, runs: Sequence[Run], resamples: int, level: float = LEVEL, reference: Sequence[str] = ()) -> None:
        self.runs = list(runs)
        self._reference = [number for number, run in enumerate(self.runs) if run.variant in reference]
        self.resamples, self.level = resamples, level
        self.values: dict[Subset, Floats] = {}
        self.draws: dict[Subset, Floats] = {}
        self.units: dict[Subset, float] = {}
        self.parts: dict[tuple[str, str], dict[str, Estimate]] = {}
        self.turns: dict[tuple[str, str], dict[str, Estimate]] = {}
        self._of: dict[str, list[int]] = {}
        for number, run in enumerate(self.runs):
            self._of.setdefault(run.variant, []).append(number)

    def add(
        self,
        head: ManifestBenchmark,
        subsets: Iterable[Subset],
        cells: Mapping[int, CellResult],
        outcomes: Mapping[int, Outcomes],
    ) -> None:
        """Add the scores and draws of one benchmark.

        Args:
            head: benchmark to add.
            subsets: subsets of the benchmark's items.
            cells: finished cells by the number of their run.
            outcomes: items of the cells by the number of their run, all in one order; empty for values without draws.
        """
        items = _Items(head, outcomes, len(self.runs), self.resamples) if outcomes else None
        if is_whole(head):
            self._add_whole(head, cells, items)
            return
        for subset in dict.fromkeys(subsets):
            self.values[subset] = np.full(len(self.runs), np.nan)
            for number, cell in cells.items():
                self.values[subset][number] = _over_parts(cell, subset.parts)
            self.draws[subset] = items.start(subset) if items else np.empty((len(self.runs), 0), np.float32)
            self.units[subset] = items.units(subset.parts) if items else 0
        for part in head.parts:
            draws = items.part(part) if items else np.empty((len(self.runs), 0), np.float32)
            units = items.units((part,)) if items else 0
            scores = {number: cell.parts[part] for number, cell in cells.items() if part in cell.parts}
            self.parts[head.name, part] = self._estimates(head, scores, draws, units)
        if items:
            for turn, places in items.turns.items():
                scores = {number: cell.groups[turn] for number, cell in cells.items() if turn in cell.groups}
                units = items.units_of(places)
                self.turns[head.name, turn] = self._estimates(head, scores, items.over(places), units)
            for subset, draws in self.draws.items():
                if subset.benchmark == head.name:
                    items.finish(subset, draws)

    def _add_whole(self, head: ManifestBenchmark, cells: Mapping[int, CellResult], items: _Items | None) -> None:
        """Add a figure that is no mean over items; its parts are added where it is a mean of their means."""
        assert head.measure is not None
        subset = Subset(head.name, tuple(head.parts))
        values, draws = np.full(len(self.runs), np.nan), np.empty((len(self.runs), 0), np.float32)
        for number, cell in cells.items():
            values[number] = np.nan if cell.value is None else cell.value
        if items:
            values, draws = items.whole(head.measure, self._reference)
        self.values[subset], self.draws[subset] = values, draws
        self.units[subset] = min(items.units((part,)) for part in head.parts) if items else 0
        if head.measure.reduction == "harmonic" and len(head.measure.values) == 1:
            for part in head.parts:
                scores = {number: cell.parts[part] for number, cell in cells.items() if part in cell.parts}
                drawn, units = (items.part(part), items.units((part,))) if items else (draws, 0)
                self.parts[head.name, part] = self._estimates(head, scores, drawn, units)

    def _estimates(
        self, head: ManifestBenchmark, scores: Mapping[int, PartScore], draws: Floats, units: int
    ) -> dict[str, Estimate]:
        """Return each variant's score over some of the items, from the scores of its runs."""
        values = np.full(len(self.runs), np.nan)
        sizes: dict[str, int] = {}
        for number, score in scores.items():
            values[number] = score.value
            sizes[self.runs[number].variant] = score.n
        found = {variant: self._quantity(variant, values, draws, units) for variant in sizes}
        limits, level = limits_of(head), self.level
        return {
            variant: estimate(quantity, level, sizes[variant], limits=limits)
            for variant, quantity in found.items()
            if quantity is not None
        }

    def quantity(self, variant: str, subset: Subset) -> Quantity | None:
        """Return a row's score on a subset; None where no seed is finished."""
        return self._quantity(variant, self.values[subset], self.draws[subset], self.units[subset])

    def _quantity(self, variant: str, values: Floats, draws: Floats, units: float) -> Quantity | None:
        of_variant = [number for number in self._of[variant] if np.isfinite(values[number])]
        if not of_variant:
            return None
        drawn = draws[of_variant]
        return Quantity(float(values[of_variant].mean()), drawn.mean(axis=0), values[of_variant], drawn, units)

    def reference(self, variants: Sequence[str], subset: Subset) -> Level | None:
        """Return the mean score of the rows that never knew, over all their seeds; None where one of these is missing.

        Where there are several runs, one fewer than there are is drawn for each resample, so that their spread is in the draws
        without bias, as resampled items are in the row's own (see `resampled_means`).
        """
        of_reference = [number for variant in variants for number in self._of[variant]]
        values, draws = self.values[subset][of_reference], self.draws[subset][of_reference]
        if not of_reference or not np.isfinite(values).all():
            return None
        if len(of_reference) == 1 or not draws.size:
            return Level(float(values.mean()), draws.mean(axis=0))
        rng = np.random.default_rng([SEED, zlib.crc32(b"reference")])
        picked = rng.integers(len(of_reference), size=(draws.shape[1], len(of_reference) - 1))  # (R, runs - 1)
        return Level(float(values.mean()), draws[picked.T, np.arange(draws.shape[1])].mean(axis=0))

    def distance(self, variant: str, subset: Subset, ideal: Level, sign: float) -> Quantity | None:
        """Return a row's distance above the ideal, below it where the sign is negative; None where no seed is finished."""
        score = self.quantity(variant, subset)
        if score is None:
            return None
        return Quantity(
            sign * (score.value - ideal.value),
            sign * (score.draws - ideal.draws),
            sign * (score.by_seed - ideal.value),
            sign * (score.seed_draws - ideal.draws),
            score.units,
        )

    def shares(
        self,
        variant: str,
        base: str,
        forget: Sequence[ShareTarget],
        keep: Sequence[ShareTarget],
        ideals: Mapping[Subset, Level],
    ) -> RowShares | None:
        """Return a row's F, K and S against the base; None where no seed, or not the base, has all that they need.

        Args:
            variant: name of the row.
            base: name of the row of the untouched model.
            forget: targets that F counts.
            keep: targets that K counts.
            ideals: scores of the reference on forget targets, where these are the ideal.
        """
        needed = list(dict.fromkeys(target.subset for target in (*forget, *keep)))
        of_row, reference = (
            [i for i in self._of[name] if all(np.isfinite(self.values[subset][i]) for subset in needed)]
            for name in (variant, base)
        )
        if not needed or not of_row or not reference:
            return None
        known = {subset: self.values[subset][reference].mean() for subset in needed}
        known_draws = {subset: self.draws[subset][reference].mean(axis=0) for subset in needed}  # (R,)
        scores = {subset: self.values[subset][of_row] for subset in needed}  # (S,)
        drawn = {subset: self.draws[subset][of_row] for subset in needed}  # (S, R)
        means = {subset: values_of.mean() for subset, values_of in scores.items()}
        ideal = {subset: np.array(level.value) for subset, level in ideals.items()}
        ideal_draws = {subset: level.draws for subset, level in ideals.items()}  # (R,)
        below = {
            target.subset
            for target in forget
            if target.folds
            and share_left(means[target.subset], known[target.subset], ideal.get(target.subset, target.chance)) < 0
        }
        row_draws = {subset: draws_of.mean(axis=0) for subset, draws_of in drawn.items()}
        return RowShares(
            value=summarise(forget, keep, means, known, below, ideal),
            draws=summarise(forget, keep, row_draws, known_draws, below, ideal_draws),
            by_seed=summarise(forget, keep, scores, known, below, ideal),
            seed_draws=summarise(forget, keep, drawn, known_draws, below, ideal_draws),
            units=min(self.units[subset] for subset in needed),
            seeds=tuple(self.runs[number].seed for number in of_row),
        )


class RowShares(NamedTuple):
    """A row's shares: of its mean over seeds and of each seed, both measured and over resampled items."""

    value: Shares
    draws: Shares  # (R,)
    by_seed: Shares  # (S,)
    seed_draws: Shares  # (S, R)
    units: float  # of the smallest subset
    seeds: tuple[int, ...]  # (S,)

    def quantity(self, name: Literal["forget", "keep", "score", "straight", "straight_score"]) -> Quantity | None:
        """Return one of the summary's figures; None where it is undefined."""
        value = float(getattr(self.value, name))
        if not np.isfinite(value):
            return None
        draws, by_seed, seed_draws = (getattr(shares, name) for shares in (self.draws, self.by_seed, self.seed_draws))
        return Quantity(value, draws, by_seed, seed_draws, self.units)

    def kept(self) -> dict[str, Quantity]:
        """Return the shares that K is the smallest of, by column."""
        return self._each("kept")

    def left(self) -> dict[str, Quantity]:
        """Return the share of each topic's knowledge that is left, neither clipped nor folded."""
        return self._each("left")

    def _each(self, name: Literal["kept", "left"]) -> dict[str, Quantity]:
        value, draws, by_seed, seed_draws = (
            getattr(shares, name) for shares in (self.value, self.draws, self.by_seed, self.seed_draws)
        )
        return {
            key: Quantity(float(share), draws[key], by_seed[key], seed_draws[key], self.units) for key, share in value.items()
        }


class _Items:
    """One benchmark's items, resampled part by part, with the same draws for every run."""

    def __init__(self, head: ManifestBenchmark, outcomes: Mapping[int, Outcomes], runs: int, resamples: int) -> None:
        self._head, self._runs, self._resamples = head, runs, resamples
        self._there = list(outcomes)
        first = outcomes[self._there[0]]
        self._units = first.units
        self._scores = np.stack([outcomes[number].scores for number in self._there])  # (cells, N)
        self._values = {name: np.stack([outcomes[number].values[name] for number in self._there]) for name in first.values}
        self._binary = head.metric.unit == "fraction" and all(outcome.binary for outcome in outcomes.values())
        names = np.array(first.parts)
        self._of_part = {part: np.flatnonzero(names == part) for part in head.parts}
        self._open: dict[Subset, Floats] = {}
        turns = [name.rpartition(TURN)[2] if TURN in name else "" for name in first.ids]
        numbers = np.array(turns)
        self.turns = {f"turn {turn}": np.flatnonzero(numbers == turn) for turn in dict.fromkeys(turns) if turn}

    def start(self, subset: Subset) -> Floats:
        """Return the array in which a subset's draws are summed up: (runs, R)."""
        draws = np.full((self._runs, self._resamples), np.nan, dtype=np.float32)
        draws[self._there] = 0
        self._open[subset] = draws
        return draws

    def units(self, parts: Sequence[str]) -> int:
        """Return the number of units that are resampled in these parts."""
        return self.units_of(np.concatenate([self._of_part[part] for part in parts]))

    def units_of(self, items: NDArray[np.int64]) -> int:
        """Return the number of units that these items belong to."""
        return len(np.unique(self._units[items]))

    def whole(self, measure: Measure, reference: Sequence[int]) -> tuple[Floats, Floats]:
        """Return values (runs,) and draws (runs, R) of a measure that is no mean; NaN where items that it needs are missing.

        The statistic of Kolmogorov and Smirnov is larger over resampled items than over the items themselves, and its spread
        is understated: its draws are turned round at its value (the basic bootstrap of Davison and Hinkley 1997, section 5.2)
        and stretched by `KS_STRETCH`.
        """
        values, draws = np.full(self._runs, np.nan), np.full((self._runs, self._resamples), np.nan, np.float32)
        rows = [self._there.index(number) for number in reference if number in self._there]
        if measure.reduction in OF_REFERENCE and (not rows or len(rows) < len(reference)):
            return values, draws
        once = {part: np.ones((len(items), 1), np.float32) for part, items in self._of_part.items()}
        values[self._there] = self._figure(measure, rows, once)[:, 0]
        if measure.reduction == "ks-log-p":  # a p value has no interval
            draws[self._there] = values[self._there, None]
            return values, draws
        blocks = zip(*(self._held(part) for part in self._of_part), strict=True)
        found = [self._figure(measure, rows, dict(zip(self._of_part, held, strict=True))) for held in blocks]
        draws[self._there] = np.concatenate(found, axis=1)
        if measure.reduction == "ks":
            middle = draws.mean(axis=1, keepdims=True)
            draws = np.clip(2 * values[:, None] - middle + KS_STRETCH * (middle - draws), 0, 1).astype(np.float32)
        return values, draws

    def _held(self, part: str) -> Iterator[Floats]:
        """Yield the counts of each item of a part in `AT_ONCE` resamples at a time: (items, resamples)."""
        _, units = np.unique(self._units[self._of_part[part]], return_inverse=True)
        count = int(units.max()) + 1 if len(units) else 0
        if count < 2:
            yield from (np.ones((len(units), size), np.float32) for size in _blocks(self._resamples))
            return
        drawn = np.concatenate([block.astype(np.uint16) for block in resampled_counts(count, self._rng(part), self._resamples)])
        start = 0
        for size in _blocks(self._resamples):
            yield drawn[start : start + size].T.astype(np.float32)[units]
            start += size

    def _figure(self, measure: Measure, reference: Sequence[int], held: Mapping[str, Floats]) -> Floats:
        """Return a measure of every cell over resampled items, given each item's counts by part: (cells, resamples)."""
        members = [part for part in self._of_part if part not in measure.against]
        if measure.reduction == "harmonic":
            values = [self._values[name] for name in measure.values] if self._values else [self._scores]
            return harmonic([self._means([part], held, of) for part in members for of in values])
        if measure.reduction == "difference":
            found = self._means(members, held)
            return found - found[list(reference)].mean(axis=0)
        rows = range(len(self._there))
        if measure.reduction in ("ks", "ks-log-p"):
            never_knew = [self._pooled(row, members, held) for row in reference]
            known, of_known = (np.concatenate(both) for both in zip(*never_knew, strict=True))
            pools = (self._pooled(row, members, held) for row in rows)
            if measure.reduction == "ks-log-p":
                found = np.array([ks_log_p(values, known) if len(values) else np.nan for values, _ in pools])
                return np.repeat(found[:, None], of_known.shape[1], axis=1)
            return np.stack([ks(values, known, counts, of_known) for values, counts in pools])
        areas: list[Floats] = []
        for row in rows:
            (values, counts), (others, of_others) = (self._pooled(row, parts, held) for parts in (members, measure.against))
            there = len(values) and len(others)
            areas.append(auc(values, others, counts, of_others) if there else np.full(counts.shape[1], np.nan))
        found = np.stack(areas)
        if measure.reduction == "auc":
            return found
        known = found[list(reference)].mean(axis=0)
        return ratio(found - known, known)

    def _means(self, parts: Sequence[str], held: Mapping[str, Floats], values: Floats | None = None) -> Floats:
        """Return every cell's mean score, or mean of other (cells, N) values, over these parts: (cells, resamples)."""
        of_items = self._scores if values is None else values
        scores = np.concatenate([of_items[:, self._of_part[part]] for part in parts], axis=1)
        counts = np.concatenate([held[part] for part in parts])
        there = np.isfinite(scores)
        return ratio(np.where(there, scores, 0) @ counts, there.astype(np.float32) @ counts)

    def _pooled(self, row: int, parts: Sequence[str], held: Mapping[str, Floats]) -> tuple[Floats, Floats]:
        """Return a cell's values in these parts, (N,), and their counts, (N, resamples), without NaN."""
        values = np.concatenate([self._scores[row, self._of_part[part]] for part in parts])
        counts = held[parts[0]] if len(parts) == 1 else np.concatenate([held[part] for part in parts])
        there = np.isfinite(values)
        return (values, counts) if there.all() else (values[there], counts[there])

    def over(self, items: NDArray[np.int64]) -> Floats:
        """Draw the mean over items of several parts, each part resampled by itself: (runs, R)."""
        strata = {part: np.intersect1d(items, of_part) for part, of_part in self._of_part.items()}
        single = [members for part, members in strata.items() if len(members) and self._single(part)]
        pieces = [(part, members) for part, members in strata.items() if len(members) and not self._single(part)]
        pieces += [("*", np.concatenate(single))] if single else []
        total = sum(np.nan_to_num(self._resample(members, part)) * self._counted(members) for part, members in pieces)
        counted = self._counted(items)
        draws = np.full((self._runs, self._resamples), np.nan, dtype=np.float32)
        draws[self._there] = total / np.where(counted > 0, counted, np.nan)
        return draws

    def part(self, part: str) -> Floats:
        """Draw the mean over one part, (runs, R), and add it to the subsets that the part belongs to."""
        items = self._of_part[part]
        draws = np.full((self._runs, self._resamples), np.nan, dtype=np.float32)
        if not len(items):
            return draws
        means = self._resample(items, part)
        for subset, total in self._open.items():
            if part in subset.parts and not self._single(part):
                total[self._there] += np.nan_to_num(means) * self._counted(items)
        draws[self._there] = self._certain(items, means, part)
        return draws

    def finish(self, subset: Subset, draws: Floats) -> None:
        """Turn a subset's sum into a mean; parts of a single unit are resampled together."""
        single = [self._of_part[part] for part in subset.parts if self._single(part)]
        if single:
            pooled = np.concatenate(single)
            means = self._resample(pooled, "*".join(subset.parts))
            draws[self._there] += np.nan_to_num(means) * self._counted(pooled)
        items = np.concatenate([self._of_part[part] for part in subset.parts])
        if not len(items):
            draws[:] = np.nan
            return
        counted = self._counted(items)
        draws[self._there] /= np.where(counted > 0, counted, np.nan)
        draws[self._there] = self._certain(items, draws[self._there], "+".join(subset.parts))

    def _counted(self, items: NDArray[np.int64]) -> Floats:
        """Return the number of these items that each cell has a score for: (cells, 1)."""
        return np.isfinite(self._scores[:, items]).sum(axis=1, keepdims=True).astype(np.float32)

    def _single(self, part: str) -> bool:
        return len(np.unique(self._units[self._of_part[part]])) == 1

    def _resample(self, items: NDArray[np.int64], stratum: str) -> Floats:
        _, units = np.unique(self._units[items], return_inverse=True)
        return resampled_means(self._scores[:, items], units, self._rng(stratum), self._resamples)

    def _certain(self, items: NDArray[np.int64], means: Floats, stratum: str) -> Floats:
        """Replace the draws of cells that are right, or wrong, on all items by plausible accuracies."""
        if not self._binary:
            return means
        share = self._scores[:, items].mean(axis=1)
        for right in (True, False):
            if len(alike := np.flatnonzero(share == float(right))):
                means[alike] = draws_of_certainty(right, len(items), self._rng(f"{stratum}!"), self._resamples)
        return means

    def _rng(self, stratum: str) -> np.random.Generator:
        """Return a generator seeded by benchmark and stratum, not by the measure or the rest of the table."""
        return np.random.default_rng([SEED, zlib.crc32(f"{self._head.benchmark}/{stratum}".encode())])


def _blocks(resamples: int) -> Iterator[int]:
    """Yield the sizes of blocks of at most `AT_ONCE` resamples."""
    yield from (min(AT_ONCE, resamples - start) for start in range(0, resamples, AT_ONCE))


def _over_parts(cell: CellResult, parts: Sequence[str]) -> float:
    """Return the mean over a cell's parts, weighted by their items; NaN where it has none of them."""
    known = [cell.parts[part] for part in parts if part in cell.parts]
    items = sum(part.n for part in known)
    return sum(part.value * part.n for part in known) / items if items else np.nan
