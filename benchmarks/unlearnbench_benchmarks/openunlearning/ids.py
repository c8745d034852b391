"""Ids of items that do not depend on their places: copies of the data sets are in different orders."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence


def ids_of(part: str, texts: Sequence[str]) -> list[str]:
    """Return the id of each item: its part, and a hash of what it asks; the second that asks the same ends with -2.

    Args:
        part: part of the benchmark.
        texts: question or passage of each item.
    """
    seen = Counter[str]()
    found: list[str] = []
    for text in texts:
        name = f"{part}/{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found
