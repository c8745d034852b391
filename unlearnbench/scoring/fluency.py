"""The fluency of a written answer: repeated n-grams and entropy; pure functions.

Source: the share of repeated n-grams of Welleck et al., ICLR 2020, arXiv:1908.04319; entropy as in the fluency score of RWKU
    (arXiv:2406.10890), here of single tokens and relative to its maximum.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

NGRAM = 4
MOST_REPEATED = 0.5  # share of n-grams that stood there before; ordinary prose has less than .1
LEAST_ENTROPY = 0.5  # of the largest possible; ordinary prose has more than .75
FEWEST_TOKENS = 2 * NGRAM  # in shorter answers neither says anything
LONGEST_WORD = 20  # mean characters per word: above, the text has no spaces and its characters count


def is_degenerate(text: str) -> bool:
    """Return whether an answer is empty, repeats itself or hardly varies; short answers are given the benefit of the doubt."""
    tokens: Sequence[str] = text.split()
    if len(text) > LONGEST_WORD * len(tokens):
        tokens = "".join(tokens)
    if not tokens:
        return True
    if len(tokens) < FEWEST_TOKENS:
        return False
    return repeated(tokens) > MOST_REPEATED or relative_entropy(tokens) < LEAST_ENTROPY


def repeated_ngrams(text: str) -> float | None:
    """Return the share of a text's 4-grams of words that it had contained before.

    Args:
        text: an answer.

    Returns:
        from 0 to 1, below .1 for ordinary prose; None for a text of fewer than 8 words.
    """
    words = text.split()
    return repeated(words) if len(words) >= FEWEST_TOKENS else None


def repeated(tokens: Sequence[str]) -> float:
    """Return the share of a text's n-grams that occurred in it before."""
    ngrams = list(zip(*(tokens[shift:] for shift in range(NGRAM)), strict=False))
    return 1 - len(set(ngrams)) / len(ngrams)


def relative_entropy(tokens: Sequence[str]) -> float:
    """Return the entropy of a text's tokens, divided by that of as many different ones: 0 for one token repeated, at most 1."""
    total = len(tokens)
    entropy = -sum(n / total * math.log2(n / total) for n in Counter(tokens).values())
    return entropy / math.log2(total)
