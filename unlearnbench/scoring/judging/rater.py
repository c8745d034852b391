"""Rating many answers: what is kept is not asked again, what arrives is kept at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance
from typing import TYPE_CHECKING

from unlearnbench.errors import UsageError
from unlearnbench.scoring.judging.judgment import Inquiry, Judge, Judgment, ReplySettings
from unlearnbench.scoring.judging.local import LocalJudge
from unlearnbench.scoring.judging.prompts import PromptSet, load_prompts
from unlearnbench.scoring.judging.remote import RemoteJudge, RequestLimits
from unlearnbench.system.files import HASH_CHARS, content_hash
from unlearnbench.system.journal import Journal

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A conversation whose last answer is to be rated.

    Attributes:
        id: the item's name, for readers of the kept judgments.
        turns: the user's messages.
        answers: the model's answers, as many.
        references: reference answers, one per turn, or none.
    """

    id: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """All judgments of one answer.

    Attributes:
        ratings: points from 1 to 10, one for each repeat that brought one.
        text: the first judgment, in the judge's words.
        error: the reason why ratings are missing; empty where none is.
    """

    ratings: tuple[float, ...] = ()
    text: str = ""
    error: str = ""

    @property
    def mean(self) -> float | None:
        """The mean rating, in points; None without ratings."""
        return fmean(self.ratings) if self.ratings else None

    @property
    def spread(self) -> float | None:
        """The variance of the judge about this answer, in points squared; None where it was asked once."""
        return variance(self.ratings) if len(self.ratings) > 1 else None


def open_judge(name: str, url: str | None, limits: RequestLimits, replies: ReplySettings) -> RemoteJudge | LocalJudge:
    """The judge `openai:MODEL` or `hf:MODEL`.

    Raises:
        UsageError: neither, or it cannot be used.
    """
    kind, _, model = name.partition(":")
    if kind == "openai" and model:
        return RemoteJudge(model, url, limits, replies)
    if kind == "hf" and model:
        return LocalJudge(model, replies)
    meant = f" A model of that name is openai:{name}, or hf:{name} in memory." if name and ":" not in name else ""
    raise UsageError(f"Unknown judge '{name}'. Available: rules, openai:MODEL, hf:MODEL.{meant}")


class Rater:
    """A judge with its prompts, which rates answers from 1 to 10; `Rater.open` makes one of a judge's name.

    Args:
        judge: the judge, behind an API or in memory.
        prompts: the wording of what it is asked.
        repeats: the number of times that each answer is rated.
    """

    def __init__(self, judge: Judge, prompts: PromptSet, repeats: int) -> None:
        self.judge, self.prompts, self.repeats = judge, prompts, repeats

    @classmethod
    def open(
        cls,
        name: str,
        *,
        url: str | None = None,
        prompts: str | None = None,
        repeats: int = 1,
        limits: RequestLimits | None = None,
        replies: ReplySettings | None = None,
    ) -> Rater:
        """Return a rater for the judge `openai:MODEL` or `hf:MODEL`; nothing is asked or loaded yet.

        Args:
            name: `openai:MODEL` for a model behind an OpenAI-compatible API, `hf:MODEL` for a folder or a model of the hub
                that transformers loads.
            url: the API's base address; None takes the environment's OPENAI_BASE_URL, else OpenAI's own.
            prompts: a file of judge prompts in FastChat's format; None takes ours.
            repeats: the number of times that each answer is rated.
            limits: limits on the requests to an API; None for the defaults.
            replies: temperature and length of the judge's replies; None for the defaults.

        Raises:
            UsageError: the name has another form, the client is not installed, there is no key for the address, no such
                model, or the file of prompts is not what it should be.
        """
        judge = open_judge(name, url, limits or RequestLimits(), replies or ReplySettings())
        return cls(judge, load_prompts(prompts), repeats)

    @property
    def identity(self) -> list[object]:
        """All that may change a rating: judge, replies, prompts, repeats; for a benchmark's `digest`."""
        shown = {f"{turns} {reference}": vars(prompt) for (turns, reference), prompt in self.prompts.prompts.items()}
        return [list(self.judge.identity), shown, self.repeats]

    @property
    def remote(self) -> bool:
        """True for a judge behind an API, which needs no model in memory; for `Benchmark.complete`."""
        return isinstance(self.judge, RemoteJudge)

    def problems(self) -> Iterable[str]:
        """Return what stands in the way of asking the judge, a sentence each; for `preflight`. Nothing is rated."""
        return self.judge.problems()

    def move_to(self, model: PreTrainedModel) -> None:
        """Let a judge in memory be loaded in a model's dtype and on its device; a remote one has neither.

        Args:
            model: the model whose answers are rated.
        """
        if isinstance(self.judge, LocalJudge):
            self.judge.move_to(model.dtype, model.device)

    def journal(self, keep: Path | None) -> Journal:
        """Return the record of this judge's ratings, for `rate`.

        Args:
            keep: a folder that outlives the run, `Subject.keep`; None records nothing.
        """
        kind, name, *_ = self.judge.identity
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{kind}-{name}")[:60]
        file = f"{slug}-{content_hash(self.judge.identity)[:HASH_CHARS]}.jsonl"
        return Journal(keep / "judgments" / file if keep is not None else None)

    def rate(self, exchanges: Sequence[Exchange], journal: Journal) -> list[Ratings]:
        """Rate the last answer of every exchange.

        Args:
            exchanges: the conversations, in any order.
            journal: judgments on disk, from `journal`; those are not asked for again, and new ones are written there at once.

        Returns:
            the ratings of each exchange, in their order.
        """
        journal.refresh()
        wanted = [[self._inquiry(exchange, repeat) for repeat in range(self.repeats)] for exchange in exchanges]
        missing = {inquiry.key: inquiry for row in wanted for inquiry in row if journal.get(inquiry.key) is None}
        failed: dict[str, Judgment] = {}

        def arrived(inquiry: Inquiry, judgment: Judgment) -> None:
            if judgment.rating is None:
                failed[inquiry.key] = judgment
            else:
                words = {"rating": judgment.rating, "text": judgment.text, "tokens": judgment.tokens}
                journal.add(inquiry.key, {**inquiry.about, **words})

        if missing:
            self.judge.rate(list(missing.values()), arrived)
        return [self._verdict(row, journal, failed) for row in wanted]

    def _inquiry(self, exchange: Exchange, repeat: int) -> Inquiry:
        messages = self.prompts.messages(exchange.turns, exchange.answers, exchange.references)
        answer = content_hash([exchange.turns, exchange.answers])
        key = content_hash([answer, list(self.judge.identity), self.prompts.name, messages, repeat])
        judge = ":".join(self.judge.identity[:2])
        about: dict[str, str | int] = {
            "item": exchange.id, "answer": answer, "judge": judge, "prompt": self.prompts.name, "repeat": repeat
        }  # fmt: skip
        return Inquiry(key=key, messages=messages, about=about)

    def _verdict(self, row: Sequence[Inquiry], journal: Journal, failed: dict[str, Judgment]) -> Ratings:
        kept = [record for inquiry in row if (record := journal.get(inquiry.key)) is not None]
        reasons = [failed[inquiry.key].error for inquiry in row if inquiry.key in failed]
        return Ratings(
            ratings=tuple(float(record["rating"]) for record in kept),
            text=str(kept[0]["text"]) if kept else "",
            error=_missing(len(row) - len(kept), len(row), reasons[0] if reasons else "not judged"),
        )


def _missing(missing: int, asked: int, reason: str) -> str:
    """Return the sentence on ratings that did not come."""
    if not missing or missing == asked:
        return reason if missing else ""
    return f"{missing} of {asked} ratings {'is' if missing == 1 else 'are'} missing: {reason}"
