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


def in_half(
    items: Sequence[AnyItem],
    half: Half | None,
    item_of: Callable[[AnyItem], str],
    facts: Sequence[str] | None = None,
) -> Sequence[AnyItem]:
    """Return a half of each part's items, in order; for `Benchmark.keep_half`.

    Every part is ordered by a hash of the ids and dealt out, to the half that has fewer of the part: which half an item is in
    follows from ids, parts and facts. Turns of one conversation, `ID/turn-1`, stay together, and so do items that ask about one
    fact, the facts with most items first. Both halves have as many items of each part, give or take those of one fact.

    Args:
        items: anything with a `part`, in the data's order.
        half: the half that is wanted; None for all items.
        item_of: function from an element to the id of the item that it belongs to.
        facts: name of what each item asks about; "" leaves an item by itself.
    """
    if half is None:
        return items
    alone = [_conversation(item_of(item)) for item in items]
    names = alone if facts is None else [fact or name for fact, name in zip(facts, alone, strict=True)]
    part_of: dict[str, str] = {}
    members: dict[str, set[str]] = {}
    for item, name, member in zip(items, names, alone, strict=True):
        part_of.setdefault(name, item.part)
        members.setdefault(name, set()).add(member)
    sizes: dict[Half, Counter[str]] = {"selection": Counter(), "reporting": Counter()}
    side: dict[str, Half] = {}
    for name in sorted(part_of, key=lambda name: (part_of[name], -len(members[name]), hashlib.sha256(name.encode()).digest())):
        part = part_of[name]
        # a tie goes to what has fewer altogether, so that parts of a single item do not all fall to one side
        side[name] = min(sizes, key=lambda which: (sizes[which][part], sizes[which].total()))
        sizes[side[name]][part] += len(members[name])
    return [item for item, name in zip(items, names, strict=True) if side[name] == half]


def _conversation(name: str) -> str:
    return name.rpartition(TURN)[0] or name
