"""The ranges and choices of an option that tuning searches, declared beside a method's defaults or in a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

INTERIOR = 0.381966  # of a range: a point that whole-number options refuse where its ends would pass


@dataclass(frozen=True)
class Linear:
    """A range whose values are equally likely; whole numbers where both ends are.

    Attributes:
        low: the smallest value.
        high: the largest value.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Log:
    """A range whose logarithms are equally likely, as suits learning rates; whole numbers where both ends are.

    Attributes:
        low: the smallest value, above 0.
        high: the largest value.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """A few values, each equally likely.

    Attributes:
        values: the values, at least one.
    """

    values: tuple[Any, ...]


@dataclass(frozen=True)
class ShareOf:
    """A whole number between two shares of the model's decoder blocks, or of the budget's steps.

    A block from the second to the third fifth means something in a model of any depth, where a number does not.

    Attributes:
        whole: the whole that the shares are taken of: the model's decoder blocks, or the budget's steps.
        low: the smallest share, from 0 to 1.
        high: the largest share, from 0 to 1.
    """

    whole: Literal["blocks", "steps"]
    low: float
    high: float

    def of(self, total: int) -> Linear:
        """Return the range of whole numbers that is meant.

        Args:
            total: the number of blocks, which are numbered from 0, or of steps.
        """
        last = total - 1 if self.whole == "blocks" else total
        low = min(round(self.low * total), last)
        return Linear(low, max(min(round(self.high * total), last), low))


Domain = Linear | Log | Choice | ShareOf
Space = Mapping[str, Domain]
"""The type of what tuning searches: a range or choice for each option, by its name."""
_RANGES: dict[str, type[Linear] | type[Log]] = {"linear": Linear, "log": Log}
FORMS = "[a, b, c], {linear: [low, high]}, {log: [low, high]}, {blocks: [low, high]} or {steps: [low, high]} with shares"


def check_domain(domain: Domain) -> None:
    """Raise ValueError where nothing, or no number, could be chosen."""
    if isinstance(domain, Choice):
        if not domain.values:
            raise ValueError("a choice needs at least one value")
        return
    if not (math.isfinite(domain.low) and math.isfinite(domain.high) and domain.low <= domain.high):
        raise ValueError(f"a range goes from low to high, not from {domain.low:g} to {domain.high:g}")
    if isinstance(domain, Log) and domain.low <= 0:
        raise ValueError(f"a logarithmic range begins above 0, not at {domain.low:g}")
    if isinstance(domain, ShareOf) and not 0 <= domain.low <= domain.high <= 1:
        raise ValueError(f"shares lie between 0 and 1, not at {domain.low:g} and {domain.high:g}")


def read_domain(value: Any) -> Domain:
    """Read a domain as a recipe writes it; raise ValueError for anything else. See `FORMS`."""
    if isinstance(value, list) and value:
        return Choice(tuple(value))
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"a space is {FORMS}")
    [(kind, ends)] = value.items()
    if kind not in (*_RANGES, "blocks", "steps") or not isinstance(ends, list) or len(ends) != 2:
        raise ValueError(f"a space is {FORMS}")
    low, high = (_number(end) for end in ends)
    domain = _RANGES[kind](low, high) if kind in _RANGES else ShareOf(kind, low, high)
    check_domain(domain)
    return domain


def written(domain: Domain) -> Any:
    """Invert `read_domain`; the result is JSON-able."""
    if isinstance(domain, Choice):
        return list(domain.values)
    kind = domain.whole if isinstance(domain, ShareOf) else type(domain).__name__.lower()
    return {kind: [domain.low, domain.high]}


def probes(domain: Domain) -> list[Any]:
    """Return values to try an option with before anything is computed."""
    if isinstance(domain, Choice):
        return list(domain.values)
    if isinstance(domain, ShareOf):
        return [1]
    if is_whole(domain):
        return [domain.low, domain.high]
    return [domain.low, domain.low + INTERIOR * (domain.high - domain.low), domain.high]


def is_whole(domain: Linear | Log) -> bool:
    """Return whether the range is one of whole numbers."""
    return isinstance(domain.low, int) and isinstance(domain.high, int)


def nearest(domain: Linear | Log | Choice, value: Any) -> Any:
    """Return the value of the domain that is nearest to another one; of a choice without it, the first."""
    if isinstance(domain, Choice):
        return value if value in domain.values else domain.values[0]
    if not isinstance(value, int | float) or isinstance(value, bool):
        return domain.low
    kept = min(max(value, domain.low), domain.high)
    return round(kept) if is_whole(domain) else float(kept)


def _number(end: Any) -> float:
    """Return the number, also from a text: YAML reads 3e-5 as a text."""
    if isinstance(end, bool) or not isinstance(end, int | float | str):
        raise ValueError(f"the ends of a range are numbers, not {end!r}")
    try:
        return float(end) if isinstance(end, str) else end
    except ValueError:
        raise ValueError(f"the ends of a range are numbers, not {end!r}") from None
