"""mt_bench: two-turn conversations, rated from 1 to 10 by a judge; whether the model still talks.

Source: Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", NeurIPS 2023, arXiv:2306.05685; questions
    and temperatures of FastChat, fastchat/llm_judge.
Deviations:
    - The model's own chat template, whatever its name; FastChat chooses one by the model's name.
    - Every answer is seeded by question and turn.
    - The judge's prompt is our own wording; a rating outside 1 to 10, or none, is asked for again and then an error. It
      never counts as -1.
    - The judge `rules` compares with the reference answer and is for the sandbox; its ratings are no MT-Bench scores.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import PositiveInt

from unlearnbench.api import (
    Benchmark,
    BenchmarkSpec,
    Half,
    ItemResult,
    Metric,
    Subject,
    UsageError,
    content_hash,
    first_of_each_part,
    hookimpl,
    in_half,
    parse_source,
    read_table,
)

# FastChat's; categories it does not know get .7 there, too
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
LOWEST, HIGHEST = 1.0, 10.0
TRIES = 3
JUDGE_TOKENS = 2048
RATING = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))
PROMPT_VERSION = 1
PROMPT = """You grade an AI assistant. Read the conversation and judge only the assistant's last answer: is it helpful,
correct, relevant, deep enough and clear? Do not let length or style decide. First give your reasons in a few sentences.
Then end with your rating from 1 (useless) to 10 (excellent) in double brackets, like this: Rating: [[4]]

{conversation}{reference}"""


class Item:
    """One question of two turns with its reference answers, where it has any.

    Args:
        row: FastChat's or the hub's.
        where: its file and line, for messages.
        answers: reference answers by question, from FastChat's `reference_answer`; without any, the row's own notes count.
    """

    def __init__(self, row: dict[str, Any], where: str, answers: Mapping[str, list[str]]) -> None:
        turns = row.get("turns", row.get("prompt"))
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
            raise UsageError(f"{where} needs its turns as a list of texts, under `turns` (FastChat) or `prompt` (the hub).")
        self.id = str(row.get("question_id", row.get("prompt_id")))
        self.part = str(row.get("category", "all"))
        self.turns: list[str] = turns
        notes = [str(text) for text in row.get("reference") or []]
        self.references = answers.get(self.id, []) if answers else notes


class MtBench(Benchmark):
    """MT-Bench with single-answer grading.

    Args:
        source: FastChat's folder or question file, the hub's data set, or `sandbox:mt_bench`.
        judge: `rules`, or `openai:MODEL` at any compatible address.
        judge_url: base address of the judge's API; None takes the environment's OPENAI_BASE_URL.
        max_new_tokens: an answer ends there at the latest.
    """

    def __init__(
        self,
        *,
        source: str = "HuggingFaceH4/mt_bench_prompts",
        judge: str = "rules",
        judge_url: str | None = None,
        max_new_tokens: PositiveInt = 1024,
    ) -> None:
        self.source, self.judge, self.max_new_tokens = source, judge, max_new_tokens
        self._revision: str | None = None
        self._half: Half | None = None
        self.rate = rules if judge == "rules" else openai_judge(judge, judge_url)

    @property
    def metric(self) -> Metric:
        return Metric(name=f"rating by {self.judge}", role="retain", chance=LOWEST, unit="points", note=self.judge)

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    @cached_property
    def items(self) -> Sequence[Item]:
        """The questions, or a half of them, with FastChat's reference answers where the folder has them."""
        folder = parse_source(self.source).path
        file = folder / "question.jsonl" if folder is not None and folder.is_dir() else None
        table = read_table(str(file) if file is not None and file.is_file() else self.source, default_split="train")
        self._revision = table.revision
        answers = _reference_answers(folder / "reference_answer") if folder is not None else {}
        items = [Item(row, table.where(index), answers) for index, row in enumerate(table.rows)]
        if self.judge == "rules" and not all(len(item.references) >= len(item.turns) for item in items):
            raise UsageError(
                f"The judge `rules` needs a reference for each turn, and '{self.source}' has not; use openai:MODEL."
            )
        if self.judge != "rules" and not answers:  # the questions' own notes: where FastChat's judge sees a reference
            for item in items:
                if item.part in TEMPERATURES and item.part not in REFERENCED:
                    item.references = []
        return in_half(items, self._half, lambda item: item.id)

    def digest(self) -> str:
        questions = [[item.id, item.part, item.turns, item.references] for item in self.items]
        return content_hash([questions, self.judge, PROMPT if self.judge != "rules" else None, PROMPT_VERSION])

    def count(self, limit: int | None) -> int:
        return sum(len(item.turns) for item in first_of_each_part(self.items, limit))

    def parts(self) -> list[str]:
        return list(dict.fromkeys(item.part for item in self.items))

    def revision(self) -> str | None:
        return self._revision

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        from unlearnbench.api import Request, generate  # torch: not needed to list or plan

        items = first_of_each_part(self.items, subject.limit)
        talks: list[list[dict[str, str]]] = [[] for _ in items]
        results: list[ItemResult] = []
        for turn in range(max(len(item.turns) for item in items)):
            live = [number for number, item in enumerate(items) if turn < len(item.turns)]
            for number in live:
                talks[number].append({"role": "user", "content": items[number].turns[turn]})
            requests = [
                Request(
                    tuple(talks[number]),
                    TEMPERATURES.get(items[number].part, OTHER_TEMPERATURE),
                    f"{subject.seed} {items[number].id} {turn}",
                )
                for number in live
            ]
            answers = generate(subject.model, subject.tokenizer, requests, max_new_tokens=self.max_new_tokens)
            for number, answer in zip(live, answers, strict=True):
                talks[number].append({"role": "assistant", "content": answer})
                item = items[number]
                reference = item.references[turn] if turn < len(item.references) else None
                score = self.rate(talks[number], reference)
                results.append(ItemResult(id=f"{item.id}/turn-{turn + 1}", part=item.part, score=score, text=answer))
                subject.progress(1)
        return results


def _reference_answers(folder: Path) -> dict[str, list[str]]:
    """The answers in FastChat's `reference_answer/*.jsonl`, by question; the first file that has one counts."""
    answers: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        table = read_table(str(file), columns=("question_id", "choices"))
        for index, row in enumerate(table.rows):
            try:
                turns = [str(turn) for turn in row["choices"][0]["turns"]]
            except (KeyError, IndexError, TypeError) as error:
                raise UsageError(
                    f"{table.where(index)} needs the answers as choices[0].turns, as FastChat writes them."
                ) from error
            answers.setdefault(str(row["question_id"]), turns)
    return answers


Judge = Callable[[list[dict[str, str]], str | None], float]


def rules(talk: list[dict[str, str]], reference: str | None) -> float:
    """Rate the last answer by what it says that nobody had said before, against the reference: 1 to 10.

    1 + 9 F1 over the words of answer and reference that the user's turns do not contain; over all words where the
    reference adds none.
    """
    asked = Counter(word for message in talk if message["role"] == "user" for word in _words(message["content"]))
    answer, wanted = Counter(_words(talk[-1]["content"])), Counter(_words(reference or ""))
    new_answer = Counter({word: n for word, n in answer.items() if word not in asked})
    new_wanted = Counter({word: n for word, n in wanted.items() if word not in asked})
    if new_wanted:
        answer, wanted = new_answer, new_wanted
    shared = (answer & wanted).total()
    f1 = 2 * shared / (answer.total() + wanted.total()) if shared else 0.0
    return round(LOWEST + (HIGHEST - LOWEST) * f1, 4)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def openai_judge(name: str, url: str | None) -> Judge:
    """A judge behind an OpenAI-compatible API.

    Raises:
        UsageError: not `openai:MODEL`, the client is not installed, or there is no key for an address elsewhere.
    """
    kind, _, model = name.partition(":")
    if kind != "openai" or not model:
        raise UsageError(f"Unknown judge '{name}'. Available: rules, openai:MODEL.")
    try:
        import openai
    except ImportError as error:
        raise UsageError("The judge openai:MODEL needs the client: pip install 'unlearnbench[judge]'.") from error
    address = url or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY")
    if key is None:
        if urlsplit(address or "").hostname not in ("127.0.0.1", "localhost", "::1"):
            raise UsageError(
                "The judge openai:MODEL needs the environment's OPENAI_API_KEY, or --judge-url with a local server."
            )
        key = "none"  # the client refuses to start without one
    client = openai.OpenAI(api_key=key, base_url=address)

    def rate(talk: list[dict[str, str]], reference: str | None) -> float:
        lines = "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in talk)
        hint = f"\n\n[reference answer]\n{reference}" if reference else ""
        prompt = PROMPT.format(conversation=lines, reference=hint)
        said = ""
        for _ in range(TRIES):
            reply = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": prompt}], temperature=0.0, max_tokens=JUDGE_TOKENS
            )
            said = (reply.choices[0].message.content or "") if reply.choices else ""
            if (rating := parse_rating(said)) is not None:
                return rating
        raise ValueError(f"the judge {name} gave no rating from 1 to 10 in {TRIES} tries; it last said: {said[:80]!r}")

    return rate


def parse_rating(text: str) -> float | None:
    """`[[7]]`, else `[7]`; None where there is none, or it is not from 1 to 10."""
    for pattern in RATING:
        if found := pattern.search(text):
            rating = float(found.group(1))
            return rating if LOWEST <= rating <= HIGHEST else None
    return None


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [
        BenchmarkSpec(
            name="mt_bench", factory=MtBench, summary="two-turn conversations, rated by a judge", source="arXiv:2306.05685"
        )
    ]
