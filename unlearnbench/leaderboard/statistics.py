"""Intervals, paired tests and ranks: what resampled items and repeated seeds bear out; pure.

Source: resampling within strata, one unit fewer than there are, as Rao and Wu (JASA 83, 1988): the variance comes out
    unbiased however small a stratum is; Satterthwaite (1946) for the degrees of freedom; Holm (1979); McNemar (1947), exact;
    Wilson (1927); Jeffreys' prior for accuracies of exactly 0 or 1 (Brown, Cai and DasGupta 2001).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]
Booleans = NDArray[np.bool_]

LEVEL = 0.95
RESAMPLES = 10_000
SEEDS_NEEDED = 5  # from here on the spread of seeds is estimated; below, the interval speaks of these seeds
SEEN = 1.25  # seeds differ where they spread so many times wider than items alone explain; see docs/what-the-numbers-mean.md
DRAWS_AT_ONCE = 2**20  # random numbers in memory: what a processor's cache holds


def resampled_means(values: Floats, units: Integers, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Return means of one stratum over resampled units.

    Args:
        values: (C, N), a row for each cell; every cell is resampled alike, so that differences are paired. NaN does not count;
            where a resample holds nothing that counts, the cell's own mean stands.
        units: (N,), the number from 0 of the unit that an item belongs to: itself, or the conversation it is a turn of.
        rng: generator that decides which units are drawn.
        resamples: number of resamples.

    Returns:
        (C, resamples) float32. A stratum of one unit does not vary.
    """
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units).astype(np.float32)[None]  # (1, K)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    there = np.isfinite(values[:, order])
    sums = np.add.reduceat(np.where(there, values[:, order], 0).astype(np.float32), starts, axis=1)  # (C, K)
    if not there.all():
        sizes = np.add.reduceat(there.astype(np.float32), starts, axis=1)  # (C, K)
    K = sums.shape[1]  # noqa: N806 - units
    if K == 1:
        return np.repeat(ratio(sums, sizes), resamples, axis=1)
    means = np.empty((len(values), resamples), dtype=np.float32)
    start = 0
    for counts in resampled_counts(K, rng, resamples):
        means[:, start : start + len(counts)] = ratio(sums @ counts.T, sizes @ counts.T)
        start += len(counts)
    return means if there.all() else np.where(np.isfinite(means), means, ratio(sums.sum(1), sizes.sum(1))[:, None])


def resampled_counts(units: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Iterator[NDArray[np.float32]]:
    """Yield counts of each of K > 1 units in each resample, which draws K - 1 units: blocks of (resamples, K)."""
    block = max(1, DRAWS_AT_ONCE // units)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = rng.integers(units, size=(size, units - 1), dtype=np.uint16 if units < 2**16 else np.int64)
        places = np.add(drawn, np.arange(0, size * units, units)[:, None], dtype=np.int64)
        yield np.bincount(places.ravel(), minlength=size * units).astype(np.float32).reshape(size, units)


def ratio(sums: Floats, sizes: Floats) -> Floats:
    """Return means; NaN of nothing."""
    return sums / np.where(sizes > 0, sizes, np.nan)


def draws_of_certainty(right: bool, items: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Draw accuracies that may stand behind an observed 1 or 0, where there is nothing to resample: (resamples,) float32."""
    most = special.betaincinv(items + 0.5, 0.5, rng.random(resamples)).astype(np.float32)
    return most if right else 1 - most


class Quantity(NamedTuple):
    """One figure of one row.

    Attributes:
        value: value of the mean over seeds.
        draws: (R,), mean over seeds over resampled items.
        by_seed: (S,), value of each seed alone.
        seed_draws: (S, R), value of each seed over resampled items.
        units: number of units resampled in the smallest part of the figure: it decides how well the item variance is known.
    """

    value: float
    draws: Floats
    by_seed: Floats
    seed_draws: Floats
    units: float = np.inf


class Spread(NamedTuple):
    """The variance of a figure that comes from its seeds, and how well it is known.

    Attributes:
        net: variance of the mean over seeds, without what resampling the items counts already.
        gross: variance of the mean over seeds, with it.
        freedom: seeds less one; 0 where seeds are too few to speak of others.
    """

    net: float
    gross: float
    freedom: int


def seed_spread(quantity: Quantity) -> Spread:
    """Return the variance that a figure owes to its seeds; nothing below `SEEDS_NEEDED` of them."""
    S = len(quantity.by_seed)  # noqa: N806 - seeds
    if S < SEEDS_NEEDED:
        return Spread(0.0, 0.0, 0)
    gross = float(np.var(quantity.by_seed, ddof=1)) / S
    noise = quantity.seed_draws - quantity.by_seed[:, None]  # (S, R): what the items do to each seed
    shared = float(np.var(noise, axis=0, ddof=1).mean()) / S
    return Spread(gross - shared if gross > SEEN * shared else 0.0, gross, S - 1)


def interval(quantity: Quantity, level: float = LEVEL) -> tuple[float, float]:
    """Return an interval that covers the figure in `level` of all comparisons.

    Below `SEEDS_NEEDED` seeds: quantiles of the resamples; it speaks of other items and these seeds. From there on: value
    plus or minus t times the root of item variance plus seed variance; it speaks of other items and other seeds.
    """
    spread = seed_spread(quantity)
    if not spread.freedom:
        return quantiles(quantity.draws, level)
    items = float(np.var(quantity.draws, ddof=1))
    half = _t_quantile(_freedom(items, quantity.units, [spread]), level) * (items + spread.net) ** 0.5
    return quantity.value - half, quantity.value + half


def quantiles(draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the middle `level` of the draws."""
    last = len(draws) - 1
    low = int((1 - level) / 2 * last)
    kept = np.partition(draws, (low, last - low))
    return float(kept[low]), float(kept[last - low])


def _freedom(items: float, units: float, spreads: list[Spread]) -> float:
    """Return Satterthwaite's degrees of freedom of item variance plus seed variances.

    A seed variance that was found counts with its gross value: what was taken off it is no better known.
    """
    doubt = items**2 / max(units - 1, 1) + sum(spread.gross**2 / spread.freedom for spread in spreads if spread.net > 0)
    total = items + sum(spread.net for spread in spreads)
    return total**2 / doubt if doubt > 0 else np.inf


def _t_quantile(freedom: float, level: float) -> float:
    """Return the two-sided quantile of Student's t; with infinite freedom that of the normal distribution."""
    return float(special.stdtrit(freedom, (1 + level) / 2) if np.isfinite(freedom) else special.ndtri((1 + level) / 2))


class Pairs(NamedTuple):
    """Every pair of V rows; all arrays (V, V), `difference[i, j]` is row i less row j.

    Attributes:
        difference: difference of each pair, in the unit of the figure.
        half: half the width of its interval, before Holm.
        p: p value of each pair, two-sided, before Holm.
        adjusted: p value of each pair, after Holm, over all pairs.
        level: level of the intervals.
    """

    difference: Floats
    half: Floats
    p: Floats
    adjusted: Floats
    level: float = LEVEL

    def better(self) -> Booleans:
        """Return whether row i is significantly above row j, at 1 - level."""
        return (self.adjusted < 1 - self.level) & (self.difference > 0)


def compare_pairs(rows: list[Quantity], level: float = LEVEL) -> Pairs:
    """Test one figure in pairs on identical resamples: difference over standard error, Holm over all pairs.

    The standard error is known as well as its items and seeds allow, so z is read as t with their degrees of freedom.
    """
    values = np.array([row.value for row in rows])
    covariance = np.atleast_2d(np.cov(np.stack([row.draws for row in rows]).astype(np.float64)))
    variances = np.diag(covariance)
    items = np.maximum(variances[:, None] + variances[None, :] - 2 * covariance, 0.0)
    items[items < 1e-12] = 0.0  # rounding: rows that answer alike
    spreads = [seed_spread(row) for row in rows]
    net = np.array([spread.net for spread in spreads])
    error = np.sqrt(items + net[:, None] + net[None, :])
    difference = values[:, None] - values[None, :]
    p, half = np.ones_like(error), np.zeros_like(error)
    for i, j in zip(*np.triu_indices(len(rows), 1), strict=True):
        freedom = _freedom(items[i, j], min(rows[i].units, rows[j].units), [spreads[i], spreads[j]])
        half[i, j] = half[j, i] = _t_quantile(freedom, level) * error[i, j]
        if difference[i, j]:
            z = abs(difference[i, j]) / error[i, j] if error[i, j] else np.inf
            p[i, j] = p[j, i] = 2 * (special.stdtr(freedom, -z) if np.isfinite(freedom) else special.ndtr(-z))
    return Pairs(difference, half, p, holm_pairs(p), level)


def holm(p: Floats) -> Floats:
    """Return Holm's step-down adjustment of (P,) p values: compare with the level itself."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def holm_pairs(p: Floats) -> Floats:
    """Return `holm` over the pairs of a symmetric (V, V) matrix; the diagonal is 1."""
    upper = np.triu_indices(len(p), 1)
    adjusted = np.ones_like(p)
    adjusted[upper] = holm(p[upper])
    adjusted.T[upper] = adjusted[upper]
    return adjusted


def mcnemar(right: Floats) -> Floats:
    """Return exact two-sided McNemar tests of every pair of (V, N) answers, 1 right and 0 wrong: (V, V) p values."""
    right = right.astype(np.float32)
    both = right @ right.T  # (V, V)
    only_first = np.diag(both)[:, None] - both
    discordant = only_first + only_first.T
    smaller = np.minimum(only_first, only_first.T)
    return np.minimum(2 * special.bdtr(smaller.astype(np.float64), discordant.astype(np.int64), 0.5), 1.0)


def ranks(better: Booleans) -> list[int]:
    """Return 1 + the number of rows significantly better."""
    return [1 + int(count) for count in better.sum(axis=0)]


def best_shares(rows: list[Quantity], rng: np.random.Generator) -> list[float]:
    """Return the share of resamples in which a row is best; ties are shared out, seeds are noise of their own variance."""
    draws = np.stack([row.draws for row in rows]).astype(np.float64)  # (V, R)
    for number, row in enumerate(rows):
        if (net := seed_spread(row).net) > 0:
            draws[number] += rng.normal(scale=net**0.5, size=draws.shape[1])
    best = draws == draws.max(axis=0)
    return [float(share) for share in (best / best.sum(axis=0)).mean(axis=1)]


def pareto(points: list[tuple[float, float]]) -> list[bool]:
    """Return whether no other point is at least as high in both coordinates and higher in one."""
    return [not any(o[0] >= p[0] and o[1] >= p[1] and o != p for o in points) for p in points]


def wilson_low(count: float, of: int, level: float = LEVEL) -> float:
    """Return the lower end of Wilson's two-sided interval for a share; 0 of nothing."""
    if not of:
        return 0.0
    z, share = special.ndtri((1 + level) / 2), count / of
    middle = share + z * z / (2 * of)
    half = z * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return float((middle - half) / (1 + z * z / of))


def p_above(values: Floats | Booleans, units: Integers, chance: float, *, binary: bool) -> float:
    """Return the one-sided p value of a mean being no more than chance: exact binomial for right and wrong, else t over
    units.
    """
    if binary:
        return float(special.bdtrc(values.sum() - 1, len(values), chance)) if values.sum() else 1.0
    sizes = np.bincount(units)
    means = np.bincount(units, weights=values) / sizes
    error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else 0.0
    gain = float(np.mean(values)) - chance
    if error == 0:
        return 0.0 if gain > 0 else 1.0
    return float(special.stdtr(len(means) - 1, -gain / error))
