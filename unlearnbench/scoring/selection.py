"""The choice of items: the first of each part, or one half of a benchmark."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from unlearnbench.records.base import Half
from unlearnbench.records.items import TURN


class HasPart(Protocol):
    """An object that belongs to a part of a benchmark."""

    @property
    def part(self) -> str:
        """Return the part's name."""
        ...


AnyItem = TypeVar("AnyItem", bound=HasPart)


def first_of_each_part(items: Sequence[AnyItem], limit: int | None) -> Sequence[AnyItem]:
    """Return the first items of each part, in order.

    Args:
        items: anything with a `part`, in the data's order.
        limit: the number of items of each part, as in `Subject.limit`; None for all.
    """
    if limit is None:
        return items
    seen: Counter[str] = Counter()
    kept: list[AnyItem] = []
    for item in items:
        seen[item.part] += 1
        if seen[item.part] <= limit:
            kept.append(item)
    return kept


def in_half(items: Sequence[AnyItem], half: Half | None, item_of: Callable[[AnyItem], str]) -> Sequence[AnyItem]:
    """Return a half of each part's items, in order; for `Benchmark.keep_half`.

    Every part is ordered by a hash of the ids, and dealt out in turn: which half an item is in follows from ids and parts,
    and both halves have as many of each part, give or take one. Turns of one conversation, `ID/turn-1`, stay together.

    Args:
        items: anything with a `part`, in the data's order.
        half: the half that is wanted; None for all items.
        item_of: function from an element to the id of the item that it belongs to.
    """
    if half is None:
        return items
    part_of: dict[str, str] = {}
    for item in items:
        part_of.setdefault(_conversation(item_of(item)), item.part)
    ordered = sorted(part_of, key=lambda name: (part_of[name], hashlib.sha256(name.encode()).digest()))
    # dealt on from part to part, so that parts of a single item do not all fall to one side
    wanted = set(ordered[0 if half == "selection" else 1 :: 2])
    return [item for item in items if _conversation(item_of(item)) in wanted]


def _conversation(name: str) -> str:
    return name.rpartition(TURN)[0] or name
