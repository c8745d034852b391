from __future__ import annotations

import random

import pytest

from unlearnbench.data.borders import common_length
from unlearnbench.scoring.choice.prefix_trees import SHARED, Tree, build_trees, fill_batches, split


def unfold(tree: Tree) -> list[list[int]]:
    """The texts of a tree, read off its tokens as attention sees them."""
    texts, start = [], tree.trunk
    for length in tree.branches or (0,):
        texts.append(tree.ids[: tree.trunk] + tree.ids[start : start + length])
        start += length
    return texts


def test_common_length():
    assert common_length([[1, 2, 3], [1, 2, 4], [1, 2]]) == 2
    assert common_length([[1, 2], [1, 2]]) == 2
    assert common_length([[1], [2]]) == 0


def test_trees_hold_every_text_once():
    rng = random.Random(0)
    stems = [[rng.randrange(50) for _ in range(rng.randrange(5, 60))] for _ in range(12)]
    texts = [
        stem + [rng.randrange(50) for _ in range(rng.randrange(0, 20))] for stem in stems for _ in range(rng.randrange(1, 6))
    ]
    rng.shuffle(texts)
    trees = build_trees(texts)
    assert sorted(index for tree in trees for index in tree.texts) == list(range(len(texts)))
    for tree in trees:
        assert unfold(tree) == [texts[index] for index in tree.texts]
        for number, index in enumerate(tree.texts):
            places = tree.places()
            for place, token in enumerate(texts[index]):
                assert tree.ids[tree.locate(number, place)] == token
                assert places[tree.locate(number, place)] == place
    assert sum(len(tree.ids) for tree in trees) < sum(map(len, texts))


def test_options_after_one_context_share_it():
    context = list(range(40))
    trees = build_trees([[*context, 100], [*context, 101, 102], [*context, 103]])
    assert len(trees) == 1
    assert len(trees[0].ids) == 40 + 4
    assert trees[0].branches == (1, 2, 1)


def test_what_saves_nothing_stays_apart():
    """A long shared stem is not given up for one more text that shares little of it."""
    stem = list(range(100))
    texts = [[*stem, 1000], [*stem, 1001], [*stem[: SHARED + 1], *range(2000, 2050)]]
    assert sorted(len(tree.texts) for tree in build_trees(texts)) == [1, 2]
    short = [[*range(SHARED - 1), 70], [*range(SHARED - 1), 71]]
    assert [tree.branches for tree in build_trees(short)] == [(), ()]


@pytest.mark.parametrize("padded", [False, True])
def test_batches_keep_to_the_budget(padded):
    rng = random.Random(1)
    trees = [Tree([0] * size, size) for size in (rng.randrange(1, 90) for _ in range(50))] + [Tree([0] * 300, 300)]
    filled = fill_batches(trees, 128, padded=padded)
    assert sorted(len(tree.ids) for batch in filled for tree in batch) == sorted(len(tree.ids) for tree in trees)
    sizes = [[len(tree.ids) for tree in batch] for batch in filled]
    assert sizes[0] == [300]  # alone, since it must run all the same
    for batch in sizes[1:]:
        assert (max(batch) * len(batch) if padded else sum(batch)) <= 128


def test_halves_hold_the_same_texts():
    context = list(range(40))
    texts = [[*context, 100], [*context, 101, 102], [*context, 103]]
    (tree,) = build_trees(texts)
    halves = split(tree)
    assert [len(half.texts) for half in halves] == [1, 2]
    assert [text for half in halves for text in unfold(half)] == [texts[index] for half in halves for index in half.texts]
