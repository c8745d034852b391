"""The prompts of a judge as data, ours or a file in FastChat's format."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.data.tables import read_table
from unlearnbench.errors import UsageError
from unlearnbench.system.files import content_hash

VERSION = 1  # of our own wording; the file of each version stays as it is
FIELDS = ("question", "answer", "question_1", "answer_1", "question_2", "answer_2", "ref_answer_1", "ref_answer_2")


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        system: system message; empty for none.
        template: template of the user's message, with fields in braces.
        turns: number of turns that it shows.
        reference: True where it shows reference answers.
    """

    system: str
    template: str
    turns: int
    reference: bool


@dataclass(frozen=True)
class PromptSet:
    """The prompts of one file.

    Attributes:
        name: name by which judgments refer to it: `v1`, or the beginning of the file's hash.
        prompts: prompts by number of turns and presence of a reference.
    """

    name: str
    prompts: dict[tuple[int, bool], Prompt]

    def messages(self, turns: Sequence[str], answers: Sequence[str], references: Sequence[str]) -> list[dict[str, str]]:
        """Return the messages that ask for a rating of the last answer.

        Args:
            turns: turns of the user, as many as there are answers.
            answers: answers of the assistant.
            references: reference answers, one for each turn, or none.
        """
        prompt = self.prompts[len(turns), bool(references)]
        fields = {"question": turns[-1], "answer": answers[-1]}
        for number, (turn, answer) in enumerate(zip(turns, answers, strict=True), 1):
            fields |= {f"question_{number}": turn, f"answer_{number}": answer}
        fields |= {f"ref_answer_{number}": text for number, text in enumerate(references, 1)}
        content = prompt.template.format(**fields)
        system = [{"role": "system", "content": prompt.system}] if prompt.system else []
        return [*system, {"role": "user", "content": content}]


def load_prompts(path: str | None) -> PromptSet:
    """Load our prompts, or those of a file in FastChat's format, of which the prompts of type `single` count.

    Raises:
        UsageError: no such file, a template with a field that is not known, or one of the four kinds is missing.
    """
    if path is None:
        file = Path(__file__).parent / "wording" / f"v{VERSION}.jsonl"
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return PromptSet(f"v{VERSION}", {key: prompt for row in rows for key, prompt in [_prompt(row, str(file))]})
    if not Path(path).is_file():
        raise UsageError(f"There is no file of judge prompts {path}; leave judge_prompts out to use our own.")
    table = read_table(path, columns=("type", "prompt_template"))
    single = [(row, table.where(index)) for index, row in enumerate(table.rows) if row["type"] == "single"]
    prompts: dict[tuple[int, bool], Prompt] = {}
    for row, where in single:
        key, prompt = _prompt(row, where)
        prompts.setdefault(key, prompt)
    for turns in (1, 2):
        for reference in (False, True):
            if (turns, reference) not in prompts:
                kind = f"{'one turn' if turns == 1 else 'two turns'} {'with' if reference else 'without'} a reference"
                raise UsageError(f"{path} has no prompt of type 'single' for {kind}.")
    used = {f"{turns} {reference}": vars(prompt) for (turns, reference), prompt in prompts.items()}
    return PromptSet(content_hash(used)[:12], prompts)


def _prompt(row: dict[str, Any], where: str) -> tuple[tuple[int, bool], Prompt]:
    template, system = row["prompt_template"], row.get("system_prompt") or ""
    if not isinstance(template, str) or not isinstance(system, str):
        raise UsageError(f"{where} needs texts as its prompt_template and its system_prompt.")
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise UsageError(f"{where} has a prompt_template with a stray brace: {error}.") from error
    if unknown := sorted(fields - set(FIELDS)):
        raise UsageError(f"{where} has the field '{{{unknown[0]}}}' in its prompt_template; known: {', '.join(FIELDS)}.")
    turns, reference = (2 if "question_2" in fields else 1), "ref_answer_1" in fields
    return (turns, reference), Prompt(system, template, turns, reference)
