"""Rows of multiple-choice data as people write them: checked, with mistakes named by file and line."""

from __future__ import annotations

from unlearnbench.data.tables import Table, kind_of
from unlearnbench.errors import UsageError
from unlearnbench.scoring.choice.prompts import LETTERS

ENOUGH = 1.5  # answers per choice; of so many that all choices but the first are right happens by chance one time in eight
LONGEST = 9  # digits of an index; Python refuses to read thousands


def read_choices(table: Table, index: int) -> tuple[list[str], int]:
    """Return the options of a row and the position of the right one, from 0.

    Args:
        table: a table with the columns `choices`, a list of texts, and `answer`, an index from 0 or a letter.
        index: the row's index, from 0.

    Raises:
        UsageError: not a list of 2 to 26 texts, no such answer, or the table's answers seem to count from 1.
    """
    row = table.rows[index]
    choices = row["choices"]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise UsageError(f"{table.where(index)} needs a list of 2 to {len(LETTERS)} choices; got {choices!r}.")
    for letter, choice in zip(LETTERS, choices, strict=False):
        if not isinstance(choice, str) or not choice.strip():
            found = "an empty text" if isinstance(choice, str) else kind_of(choice)
            raise UsageError(f"{table.where(index)} has {found} as choice {letter}; each choice must be a text, in quotes.")
    number = _number(row["answer"])
    if number is None or not 0 <= number < len(choices):
        allowed = f"an index from 0 to {len(choices) - 1} or a letter from A to {LETTERS[len(choices) - 1]}"
        counted = "; answers that count from 1 must be one less each, or letters" if number == len(choices) else ""
        raise UsageError(f"{table.where(index)} needs as answer {allowed}; got {row['answer']!r}{counted}.")
    if not _is_letter(row["answer"]) and _counts_from_one(table, len(choices)):
        raise UsageError(
            f"{table.where(index)} has the answer {row['answer']}, and no answer of '{table.origin}' is 0: they seem to count "
            "from 1, and are read from 0. Make each one less; where they do count from 0, write letters (A for the first)."
        )
    return choices, number


def _number(given: object) -> int | None:
    """Return a position from 0, from an index or a letter, or None."""
    if isinstance(given, str):
        text = given.strip().upper()
        return LETTERS.index(text) if _is_letter(given) else int(text) if text.isdecimal() and len(text) <= LONGEST else None
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _is_letter(given: object) -> bool:
    return isinstance(given, str) and len(given.strip()) == 1 and given.strip().upper() in LETTERS


def _counts_from_one(table: Table, choices: int) -> bool:
    """Return whether every choice is the answer somewhere but the first, where enough answers are indices to suspect counting
    from 1.
    """
    if {_number(row.get("answer")) for row in table.rows} != set(range(1, choices)):
        return False
    return sum(not _is_letter(row.get("answer")) for row in table.rows) >= ENOUGH * choices
