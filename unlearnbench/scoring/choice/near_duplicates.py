"""Questions that say nearly the same: where data do not tell which fact a question asks about, its wording does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

WORDS = 3  # of one shingle
LEAST_SHARED = 0.5  # of the shingles of two questions together


def near_duplicates(texts: Sequence[str]) -> list[str]:
    """Return a name for each text that all its near duplicates share, and "" for one that has none.

    Two texts are near duplicates if at least half of the runs of three words that either has are in both (the Jaccard index of
    their shingles; Broder, "On the resemblance and containment of documents", 1997). Near duplicates of near duplicates go
    together, too.

    Args:
        texts: texts in a language that parts words by white space; letter case does not count, and an empty one has no
            duplicates.

    Returns:
        one name per text, that of its cluster: "like TEXT" with the cluster's first text.
    """
    shingles = [_shingles(text) for text in texts]
    having: dict[tuple[str, ...], list[int]] = {}
    first = list(range(len(texts)))  # of the text's cluster
    for number, mine in enumerate(shingles):
        shared = Counter(other for shingle in mine for other in having.get(shingle, ()))
        for other, count in shared.items():
            if count >= LEAST_SHARED * (len(mine) + len(shingles[other]) - count):
                a, b = _first(first, number), _first(first, other)
                first[max(a, b)] = min(a, b)
        for shingle in mine:
            having.setdefault(shingle, []).append(number)
    clusters = [_first(first, number) for number in range(len(texts))]
    sizes = Counter(clusters)
    return [f"like {texts[cluster]}" if sizes[cluster] > 1 else "" for cluster in clusters]


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + WORDS]) for i in range(max(len(words) - WORDS + 1, 1))} if words else set()


def _first(first: list[int], number: int) -> int:
    """Return the first text of a cluster, and remember it."""
    while first[number] != number:
        first[number] = first[first[number]]
        number = first[number]
    return number
