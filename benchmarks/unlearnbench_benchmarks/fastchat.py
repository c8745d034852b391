"""FastChat's files of MT-Bench: questions, temperatures, and the reference answers that a judge sees.

Source: FastChat, fastchat/llm_judge: `question.jsonl`, `reference_answer/*.jsonl`, `common.py` for temperatures and the
    categories with references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from unlearnbench.api import Dialogue, Table, UsageError, parse_source, read_table

# categories that FastChat does not know get .7 there, too
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7
REFERENCED = ("math", "reasoning", "coding")  # for these FastChat shows its judge a reference answer
MOST_TURNS = 2  # that a judge's prompts can show


class Item:
    """A question of two turns with its reference answers, where it has any.

    Args:
        table: table of the questions, FastChat's or the hub's.
        index: number of the question's row, from 0.
        answers: reference answers by question, from FastChat's `reference_answer`; where there are none, the row's own notes
            count.
    """

    def __init__(self, table: Table, index: int, answers: Mapping[str, list[str]]) -> None:
        row, where = table.rows[index], table.where(index)
        turns = row.get("turns", row.get("prompt"))
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise UsageError(f"{where} needs its turns as a list of texts, under `turns` (FastChat) or `prompt` (the hub).")
        self.id = table.label(index, "prompt_id" if "question_id" not in row and "prompt_id" in row else "question_id")
        self.part = table.label(index, "category", "all")
        self.turns: list[str] = turns
        notes = table.texts(index, "reference") if row.get("reference") else []
        self.references = answers.get(self.id, []) if answers else notes

    def turn_id(self, turn: int) -> str:
        """Return the name of one turn's result; intervals resample what shares the part before the slash."""
        return f"{self.id}/turn-{turn + 1}"

    @property
    def dialogue(self) -> Dialogue:
        """Return the dialogue that asks it."""
        temperature = TEMPERATURES.get(self.part, OTHER_TEMPERATURE)
        return Dialogue(id=self.id, turns=tuple(self.turns), temperature=temperature)


def read_items(source: str, references: str | None, *, model_judges: bool) -> tuple[list[Item], str | None]:
    """Return the questions with the references that a judge sees, and the commit of a hub data set.

    Args:
        source: FastChat's folder or question file, the hub's data set, or `sandbox:mt_bench`.
        references: file of reference answers that replace those of the same questions.
        model_judges: True where a model is the judge, which sees at most two turns and references to all of them or none;
            `rules` compares with a reference to each turn.

    Raises:
        UsageError: anything about the files that cannot be used.
    """
    folder = parse_source(source).path
    file = folder / "question.jsonl" if folder is not None and folder.is_dir() else None
    table = read_table(str(file) if file is not None and file.is_file() else source, default_split="train")
    answers = _reference_answers(sorted((folder / "reference_answer").glob("*.jsonl"))) if folder is not None else {}
    items = [Item(table, index, answers) for index in range(len(table.rows))]
    _check(items, table, MOST_TURNS if model_judges else None)
    if model_judges and not answers:  # the questions' own notes: where FastChat's judge sees a reference
        for item in items:
            if item.part in TEMPERATURES and item.part not in REFERENCED:
                item.references = []
    if references is not None:
        _replace(items, references, source)
    for item in items:
        if 0 < len(item.references) < len(item.turns) and (answers or references) and model_judges:
            covered = f"{len(item.references)} of its {len(item.turns)} turns"
            raise UsageError(f"The reference answers to question {item.id} are for {covered}; a judge is shown all or none.")
        if len(item.references) < len(item.turns):
            item.references = []
    if not model_judges and not all(item.references for item in items):
        raise UsageError(
            f"The judge `rules` needs a reference for each turn, and '{source}' has not; use --judge openai:MODEL or hf:MODEL."
        )
    return items, table.revision


def _check(items: Sequence[Item], table: Table, most_turns: int | None) -> None:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if item.id in seen:
            there = table.where(seen[item.id]).rstrip(",")
            raise UsageError(f"{table.where(index)} has the question_id {item.id}, as has {there}.")
        seen[item.id] = index
        if most_turns is not None and len(item.turns) > most_turns:
            raise UsageError(f"{table.where(index)} has {len(item.turns)} turns; a judge can be shown {most_turns}.")


def _replace(items: Sequence[Item], file: str, source: str) -> None:
    """Replace reference answers by those of a file."""
    if not Path(file).is_file():
        raise UsageError(f"There is no file of reference answers {file}; look at --references.")
    replaced = _reference_answers([Path(file)])
    if unknown := sorted(replaced.keys() - {item.id for item in items}):
        raise UsageError(f"{file} has an answer to question {unknown[0]}, and '{source}' has no such question.")
    for item in items:
        item.references = replaced.get(item.id, item.references)


def _reference_answers(files: Sequence[Path]) -> dict[str, list[str]]:
    """Return the answers in FastChat's `reference_answer/*.jsonl`, by question; the first file that has one counts."""
    answers: dict[str, list[str]] = {}
    for file in files:
        table = read_table(str(file), columns=("question_id", "choices"))
        for index, row in enumerate(table.rows):
            try:
                turns = row["choices"][0]["turns"]
            except (KeyError, IndexError, TypeError):
                turns = None
            if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
                raise UsageError(
                    f"{table.where(index)} needs the answers as choices[0].turns, a list of texts, as FastChat writes them."
                )
            answers.setdefault(table.label(index, "question_id"), turns)
    return answers
