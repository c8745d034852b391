"""The token sequences that share a beginning, so that it is computed once; pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from unlearnbench.data.borders import common_length

SHARED = 16  # tokens that branches must share: below that a tree with a mask costs more than it saves
LONGEST = 4096  # tokens in one tree with branches: its mask grows with the square


class Tree(NamedTuple):
    """Texts with a common beginning: the trunk, then each one's own rest.

    Attributes:
        ids: trunk and branches laid end to end.
        trunk: length of the trunk.
        branches: lengths of the rests; none for a single text, which is all trunk.
        texts: indices of these texts among those given, one per branch.
    """

    ids: list[int]
    trunk: int
    branches: tuple[int, ...] = ()
    texts: tuple[int, ...] = ()

    def places(self) -> list[int]:
        """Return the place of each token in its own text, counted from the tree's first."""
        return [*range(self.trunk), *(self.trunk + place for length in self.branches for place in range(length))]

    def locate(self, number: int, place: int) -> int:
        """Return the index in `ids` of the token at `place` of the tree's text of that number."""
        return place if place < self.trunk else place + sum(self.branches[:number])


def build_trees(texts: Sequence[list[int]]) -> list[Tree]:
    """Return trees that together hold every text once; texts share one where that saves tokens.

    Neighbours in lexicographic order share the longest beginnings, so one pass over them is enough.
    """
    trees: list[Tree] = []
    members: list[int] = []
    trunk = 0
    for index in sorted(range(len(texts)), key=texts.__getitem__):
        if members:
            shared = common_length([texts[members[-1]][:trunk], texts[index]])
            size = shared + sum(len(texts[i]) - shared for i in (*members, index))
            # the new text saves `shared` tokens, and what falls off the trunk is repeated by each member but one
            if shared >= SHARED and size <= LONGEST and len(members) * shared > (len(members) - 1) * trunk:
                members.append(index)
                trunk = shared
                continue
            trees.append(_tree(texts, members, trunk))
        members, trunk = [index], len(texts[index])
    return [*trees, _tree(texts, members, trunk)] if members else trees


def split(tree: Tree) -> list[Tree]:
    """Split a tree into two with half of the branches each; both have the trunk."""
    parts: list[Tree] = []
    half = len(tree.branches) // 2
    start = tree.trunk
    for chosen in (slice(None, half), slice(half, None)):
        lengths = tree.branches[chosen]
        end = start + sum(lengths)
        parts.append(Tree([*tree.ids[: tree.trunk], *tree.ids[start:end]], tree.trunk, lengths, tree.texts[chosen]))
        start = end
    return parts


def _tree(texts: Sequence[list[int]], members: Sequence[int], trunk: int) -> Tree:
    if len(members) == 1:
        return Tree(texts[members[0]], trunk, (), (members[0],))
    rests = [texts[index][trunk:] for index in members]
    ids = [*texts[members[0]][:trunk], *(token for rest in rests for token in rest)]
    return Tree(ids, trunk, tuple(len(rest) for rest in rests), tuple(members))


def fill_batches(trees: Sequence[Tree], tokens: int, *, padded: bool = False) -> list[list[Tree]]:
    """Fill batches, longest trees first, so that memory runs out at once or never; as many as fit the budget, one at least.

    Args:
        trees: trees in any order.
        tokens: number of tokens per batch.
        padded: True counts each tree as long as the batch's longest.
    """
    filled: list[list[Tree]] = []
    used = tokens + 1
    for tree in sorted(trees, key=lambda tree: len(tree.ids), reverse=True):
        length = len(filled[-1][0].ids) if padded and filled else len(tree.ids)
        if used + length > tokens:
            filled.append([])
            used, length = 0, len(tree.ids)
        filled[-1].append(tree)
        used += length
    return filled
