"""ROUGE between a reference and an answer, as the library rouge-score computes it.

Source: Lin (2004), "ROUGE: A Package for Automatic Evaluation of Summaries", aclanthology.org/W04-1013; tokens and scores of
    rouge-score 0.1.2.
Deviations: none; a test compares with rouge-score.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from unlearnbench.scoring.porter import stem

_WORD = re.compile(r"[a-z0-9]+")
_STEMMED_FROM = 4  # letters: shorter words stay as they are


class Rouge(NamedTuple):
    """The overlap of an answer with a reference, each from 0 to 1; all 0 where one of them has no words.

    Attributes:
        rouge1_recall: share of the reference's words that the answer has, too, each as often as it has it.
        recall: length of the longest common subsequence of words over the number of the reference's words (ROUGE-L).
        precision: the same length over the number of the answer's words.
        f1: harmonic mean of recall and precision.
    """

    rouge1_recall: float
    recall: float
    precision: float
    f1: float


def rouge(reference: str, answer: str, *, stemmed: bool = True) -> Rouge:
    """Compare an answer with a reference by ROUGE-1 and ROUGE-L.

    Args:
        reference: the text that should be said.
        answer: the text that was said.
        stemmed: True compares words of four and more letters by their Porter stems, as TOFU and OpenUnlearning do; MUSE's own
            code compares the words.
    """
    wanted, given = _words(reference, stemmed=stemmed), _words(answer, stemmed=stemmed)
    if not wanted or not given:
        return Rouge(0.0, 0.0, 0.0, 0.0)
    shared, longest = (Counter(wanted) & Counter(given)).total(), _common_subsequence(wanted, given)
    recall, precision = longest / len(wanted), longest / len(given)
    f1 = 2 * precision * recall / (precision + recall) if longest else 0.0
    return Rouge(shared / len(wanted), recall, precision, f1)


def _words(text: str, *, stemmed: bool) -> list[str]:
    words = _WORD.findall(text.lower())
    return [stem(word) if len(word) >= _STEMMED_FROM else word for word in words] if stemmed else words


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    longest = [0] * (len(second) + 1)  # of the first words so far, and the second's beginning of each length
    for word in first:
        before, longest = longest, [0]
        for place, other in enumerate(second):
            longest.append(before[place] + 1 if word == other else max(before[place + 1], longest[place]))
    return longest[-1]
