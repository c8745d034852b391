"""mt_bench: two-turn conversations, rated from 1 to 10 by a judge; a measure of whether the model still talks.

Source: Zheng et al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", NeurIPS 2023, arXiv:2306.05685; questions
    and temperatures of FastChat, fastchat/llm_judge.
Deviations:
    - The model's own chat template, whatever its name; FastChat chooses one by the model's name.
    - Every answer is seeded by question and turn; one that cannot be generated has no rating, instead of being rated as text.
    - The judge's prompts are our own wording; `judge_prompts` takes FastChat's file. A rating outside 1 to 10, or none, is
      asked for again and then missing. It never counts as -1, and the score says how many answers it is the mean of.
    - The judge `rules` compares with the reference answer and is for the sandbox; its ratings are no MT-Bench scores.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from unlearnbench.api import (
    Answer,
    Benchmark,
    BenchmarkSpec,
    Exchange,
    Half,
    ItemResult,
    ItemText,
    Metric,
    Rater,
    Ratings,
    ReplySettings,
    RequestLimits,
    Subject,
    UsageError,
    Workload,
    check_chat,
    content_hash,
    first_of_each_part,
    hookimpl,
    in_half,
    repeated_ngrams,
    run_dialogues,
)
from unlearnbench_benchmarks.fastchat import Item, read_items

LOWEST, HIGHEST = 1.0, 10.0
RULES = "rules"
RULES_VERSION = 1
USUAL_ANSWER, USUAL_REPLY, CHARS_PER_TOKEN = 350, 200, 4  # tokens of an answer and of a judgment, for estimates


class MtBench(Benchmark):
    """MT-Bench with single-answer grading.

    Args:
        source: FastChat's folder or question file, the hub's data set, or `sandbox:mt_bench`.
        judge: judge: `rules`, `openai:MODEL` at any compatible address, or `hf:MODEL` in memory.
        judge_url: base address of the judge's API; None takes the environment's OPENAI_BASE_URL.
        judge_prompts: file of judge prompts in FastChat's format; None takes ours.
        judge_repeats: number of ratings of each answer; their mean counts.
        judge_temperature: sampling temperature of the judge; at 0 it always gives the same reply, as far as its server can.
        judge_reply_tokens: largest length of its reply, in tokens.
        judge_concurrency: number of requests at a time.
        judge_retries: retries of one request, after time-outs, dropped connections, 429 and 5xx.
        judge_timeout: seconds for one reply.
        judge_requests: largest number of requests in one process; None for no bound.
        judge_tokens: largest number of tokens in one process, of requests and replies together; None for no bound.
        references: file of reference answers that replace those of the same questions.
        max_new_tokens: largest length of an answer, in tokens.
        batch_size: number of answers written at once; None for as many as memory holds.
    """

    incidental = frozenset(
        {
            "judge_url",  # what matters of it is in the digest
            "judge_concurrency",
            "judge_retries",
            "judge_timeout",
            "judge_requests",
            "judge_tokens",
            "batch_size",
        }
    )

    def __init__(
        self,
        *,
        source: str = "HuggingFaceH4/mt_bench_prompts",
        judge: str = RULES,
        judge_url: str | None = None,
        judge_prompts: str | None = None,
        judge_repeats: PositiveInt = 1,
        judge_temperature: Annotated[float, Field(ge=0)] = 0.0,
        judge_reply_tokens: PositiveInt = 2048,
        judge_concurrency: PositiveInt = 8,
        judge_retries: NonNegativeInt = 6,
        judge_timeout: PositiveFloat = 120.0,
        judge_requests: PositiveInt | None = None,
        judge_tokens: PositiveInt | None = None,
        references: str | None = None,
        max_new_tokens: PositiveInt = 1024,
        batch_size: PositiveInt | None = None,
    ) -> None:
        self.source, self.judge, self.max_new_tokens, self.batch_size = source, judge, max_new_tokens, batch_size
        self.references = references
        self._revision: str | None = None
        self._half: Half | None = None
        self.rater: Rater | None = None
        online = {"judge_url": judge_url, "judge_requests": judge_requests, "judge_tokens": judge_tokens}
        model = {"judge_prompts": judge_prompts, "judge_repeats": judge_repeats if judge_repeats > 1 else None}
        _check_use(judge, {**online, **model} if judge == RULES else online if judge.startswith("hf:") else {})
        if judge.startswith("hf:") and judge_repeats > 1 and judge_temperature == 0:
            raise UsageError(
                f"At temperature 0 {judge} says the same each time, so judge_repeats={judge_repeats} would tell nothing of its "
                "variance; give --set mt_bench.judge_temperature=0.7, too."
            )
        if judge != RULES:
            limits = RequestLimits(
                concurrency=judge_concurrency,
                retries=judge_retries,
                timeout=judge_timeout,
                requests=judge_requests,
                tokens=judge_tokens,
            )
            replies = ReplySettings(temperature=judge_temperature, tokens=judge_reply_tokens)
            self.rater = Rater.open(
                judge, url=judge_url, prompts=judge_prompts, repeats=judge_repeats, limits=limits, replies=replies
            )

    @property
    def metric(self) -> Metric:
        name = _short(self.judge)
        return Metric(name=f"rating by {name}", role="retain", chance=LOWEST, unit="points", note=name)

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    @cached_property
    def items(self) -> Sequence[Item]:
        """Return the questions, or a half of them, with FastChat's reference answers where the folder has them."""
        items, self._revision = read_items(self.source, self.references, model_judges=self.judge != RULES)
        return in_half(items, self._half, lambda item: item.id)

    def digest(self) -> str:
        questions = [[item.id, item.part, item.turns, item.references] for item in self.items]
        if self.rater is None:
            return content_hash([questions, RULES, RULES_VERSION])
        return content_hash([questions, *self.rater.identity])

    def count(self, limit: int | None) -> int:
        return sum(len(item.turns) for item in first_of_each_part(self.items, limit))

    def parts(self) -> list[str]:
        return list(dict.fromkeys(item.part for item in self.items))

    def revision(self) -> str | None:
        return self._revision

    def texts(self) -> Iterable[ItemText]:
        return [
            ItemText(id=f"{item.id}/turn-{turn + 1}", text=text, reference=reference)
            for item in self.items
            for turn, (text, reference) in enumerate(zip_longest(item.turns, item.references[: len(item.turns)], fillvalue=""))
        ]

    def group_items(self, items: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
        groups: dict[str, list[ItemResult]] = {}
        for item in items:
            groups.setdefault(item.id.rpartition("/")[2].replace("-", " "), []).append(item)
        return groups

    def figures(self, items: Sequence[ItemResult]) -> dict[str, float]:
        """Return length and repetition of the answers, and the judge's standard deviation between its ratings of one answer."""
        written = [item for item in items if not item.error or item.text]
        if not written:
            return {}
        repeats = [share for item in written if (share := repeated_ngrams(item.text)) is not None]
        spreads = [Ratings(ratings=item.ratings).spread for item in items if len(item.ratings) > 1]
        figures = {
            "answer_tokens": fmean(item.tokens for item in written),
            "at_token_limit": fmean(item.tokens >= self.max_new_tokens for item in written),
            "repeated_4grams": fmean(repeats) if repeats else 0.0,
        }
        if spreads:  # pooled over answers
            figures["judge_sd"] = math.sqrt(fmean(spread for spread in spreads if spread is not None))
        return figures

    def preflight(self, tokenizers: Mapping[str, Any]) -> Iterable[str]:
        turns = max(len(item.turns) for item in self.items)
        for source, tokenizer in tokenizers.items():
            if problem := check_chat(tokenizer, ["user", "assistant"] * turns):
                yield f"{source}: {problem}"
        if self.rater is not None:
            yield from self.rater.problems()

    def estimate(self, limit: int | None) -> Workload:
        turns, rater = self.count(limit), self.rater
        written = Workload(items=turns, generated=turns * self.max_new_tokens)
        if rater is None or not rater.remote:
            return written
        answer = " " * CHARS_PER_TOKEN * min(self.max_new_tokens, USUAL_ANSWER)
        asked = [
            rater.prompts.messages(item.turns[: turn + 1], [answer] * (turn + 1), item.references[: turn + 1])
            for item in first_of_each_part(self.items, limit)
            for turn in range(len(item.turns))
        ]
        chars = sum(len(message["content"]) for messages in asked for message in messages)
        requests = turns * rater.repeats
        replies = requests * min(rater.judge.replies.tokens, USUAL_REPLY)
        tokens = rater.repeats * chars // CHARS_PER_TOKEN + replies
        return replace(written, judge_requests=requests, judge_tokens=tokens, judge_reply_tokens=replies)

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        items = list(first_of_each_part(self.items, subject.limit))
        talks = self.converse(subject)
        ratings = iter(self._ratings(items, talks, subject))
        return [
            _result(item, turn, answer, Ratings(error=answer.error) if answer.error else next(ratings))
            for item, answers in zip(items, talks, strict=True)
            for turn, answer in enumerate(answers)
        ]

    def converse(self, subject: Subject) -> list[list[Answer]]:
        """Return the answers to every turn of every question."""
        dialogues = [item.dialogue for item in first_of_each_part(self.items, subject.limit)]
        return run_dialogues(dialogues, subject, max_new_tokens=self.max_new_tokens, rows=self.batch_size)

    def complete(self, items: Sequence[ItemResult], keep: Path) -> list[ItemResult] | None:
        """Ask the judge for what is missing; answers that could not be generated, and a judge in memory, take the model."""
        if self.rater is None or not self.rater.remote:
            return None
        known = {result.id: result for result in items}
        asked = [item for item in self.items if item.turn_id(0) in known]
        results = [known[item.turn_id(turn)] for item in asked for turn in range(len(item.turns))]
        if any(result.error and not result.text for result in results):
            return None
        talks = [
            [
                Answer(text=known[item.turn_id(turn)].text, tokens=known[item.turn_id(turn)].tokens)
                for turn in range(len(item.turns))
            ]
            for item in asked
        ]
        ratings = iter(self.rater.rate(_exchanges(asked, talks), self.rater.journal(keep)))
        return [
            _result(item, turn, answer, next(ratings))
            for item, talk in zip(asked, talks, strict=True)
            for turn, answer in enumerate(talk)
        ]

    def _ratings(self, items: Sequence[Item], talks: Sequence[Sequence[Answer]], subject: Subject) -> list[Ratings]:
        """Of every answer that there is."""
        exchanges = _exchanges(items, talks)
        if self.rater is None:
            return [Ratings(ratings=(rules(exchange),)) for exchange in exchanges]
        self.rater.move_to(subject.model)
        return self.rater.rate(exchanges, self.rater.journal(subject.keep))


def _check_use(judge: str, unused: Mapping[str, object]) -> None:
    """Refuse options that the judge ignores: somebody who names an address does not want a score of `rules`."""
    for option, value in unused.items():
        if value is not None:
            fitting = "openai:MODEL or hf:MODEL" if option in ("judge_prompts", "judge_repeats") else "openai:MODEL"
            misuse = f"{option} is for the judge {fitting}, and the judge is {judge}"
            raise UsageError(f"{misuse}; choose another --judge or leave it out.")


def _short(judge: str) -> str:
    """Return the judge's name for a column's head: of a folder its last part."""
    kind, colon, model = judge.partition(":")
    return f"{kind}:{Path(model).name}" if colon and model.startswith(("/", ".", "~")) else judge


def _exchanges(items: Sequence[Item], talks: Sequence[Sequence[Answer]]) -> list[Exchange]:
    """Return the exchanges to rate: every answer that is none of an error."""
    return [
        Exchange(
            id=item.turn_id(turn),
            turns=tuple(item.turns[: turn + 1]),
            answers=tuple(known.text for known in answers[: turn + 1]),
            references=tuple(item.references[: turn + 1]),
        )
        for item, answers in zip(items, talks, strict=True)
        for turn, answer in enumerate(answers)
        if not answer.error
    ]


def _result(item: Item, turn: int, answer: Answer, rated: Ratings) -> ItemResult:
    return ItemResult(
        id=item.turn_id(turn),
        part=item.part,
        score=math.nan if rated.mean is None else rated.mean,
        tokens=answer.tokens,
        text=answer.text,
        question=item.turns[turn],
        ratings=rated.ratings,
        judgment=rated.text,
        error=rated.error,
    )


def rules(exchange: Exchange) -> float:
    """Rate the last answer by its words that nobody had said before, against the reference: 1 to 10.

    1 + 9 F1 over the words of answer and reference that the user's turns do not contain; over all words where the
    reference adds none.
    """
    asked = Counter(word for turn in exchange.turns for word in _words(turn))
    answer, wanted = Counter(_words(exchange.answers[-1])), Counter(_words(exchange.references[-1]))
    new_answer = Counter({word: n for word, n in answer.items() if word not in asked})
    new_wanted = Counter({word: n for word, n in wanted.items() if word not in asked})
    if new_wanted:
        answer, wanted = new_answer, new_wanted
    shared = (answer & wanted).total()
    f1 = 2 * shared / (answer.total() + wanted.total()) if shared else 0.0
    return round(LOWEST + (HIGHEST - LOWEST) * f1, 4)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [
        BenchmarkSpec(
            name="mt_bench", factory=MtBench, summary="two-turn conversations, rated by a judge", source="arXiv:2306.05685"
        )
    ]
