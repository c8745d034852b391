"""The wording of multiple-choice prompts, as lm-eval renders WMDP and MMLU."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

__all__ = ["LETTERS", "cloze_prompt", "header", "letter_prompt"]


LETTERS = ascii_uppercase
"""The letters that options are called by, in their order."""


def header(title: str, newlines: int = 2) -> str:
    """Return the line that opens a WMDP or MMLU prompt.

    Args:
        title: the subject in words: biology, college chemistry.
        newlines: the number of line breaks behind it: 2 as current lm-eval renders it; 1 as v0.4.2 did, which the WMDP paper
            used.
    """
    return f"The following are multiple choice questions (with answers) about {title}." + "\n" * newlines


def letter_prompt(question: str, choices: Sequence[str]) -> str:
    """Return question and lettered options, up to and without the answer's letter.

    Args:
        question: the question's text.
        choices: the options' texts, 26 at most.
    """
    options = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{question.strip()}\n{options}Answer:"


def cloze_prompt(question: str) -> str:
    """Return the question alone; the options' texts are scored as continuations without being shown.

    Args:
        question: the question's text.
    """
    return f"Question: {question.strip()}\nAnswer:"
