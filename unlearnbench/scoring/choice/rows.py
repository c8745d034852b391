"""Rows of multiple-choice data as people write them: checked, and what is wrong is named with its file and line."""

from __future__ import annotations

from unlearnbench.data.tables import Table
from unlearnbench.errors import UsageError
from unlearnbench.scoring.choice.prompts import LETTERS


def read_choices(table: Table, index: int) -> tuple[list[str], int]:
    """The options of a row and the position of the right one.

    Args:
        table: with the columns choices, a list, and answer, an index from 0 or a letter.
        index: of the row.

    Raises:
        UsageError: not a list of 2 to 26 options, or no such answer.
    """
    row = table.rows[index]
    choices = row["choices"]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise UsageError(f"{table.where(index)} needs a list of 2 to {len(LETTERS)} choices; got {choices!r}.")
    answer = _position(row["answer"], len(choices))
    if answer is None:
        allowed = f"an index from 0 to {len(choices) - 1} or a letter from A to {LETTERS[len(choices) - 1]}"
        raise UsageError(f"{table.where(index)} needs as answer {allowed}; got {row['answer']!r}.")
    return [str(choice) for choice in choices], answer


def _position(given: object, options: int) -> int | None:
    """The index of the right option, from an index or a letter."""
    if isinstance(given, str):
        text = given.strip().upper()
        given = LETTERS.index(text) if len(text) == 1 and text in LETTERS else int(text) if text.isdecimal() else None
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return given if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < options else None
