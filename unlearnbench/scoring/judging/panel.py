"""Judging many answers: what is kept is not asked again, and what arrives is kept at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, variance

from unlearnbench.errors import UsageError
from unlearnbench.scoring.judging.judgment import Inquiry, Judge, Judgment, Replies
from unlearnbench.scoring.judging.local import LocalJudge
from unlearnbench.scoring.judging.prompts import PromptSet
from unlearnbench.scoring.judging.remote import RemoteJudge, RequestLimits
from unlearnbench.system.files import HASH_CHARS, content_hash
from unlearnbench.system.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A conversation whose last answer is to be rated.

    Attributes:
        id: id of the item, for readers of the kept judgments.
        turns: turns of the user.
        answers: answers of the model, one per turn.
        references: reference answers, one per turn, or none.
    """

    id: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All judgments of one answer.

    Attributes:
        ratings: ratings, one for each repeat that brought one.
        text: words of the first judgment.
        error: reason why there is none, or fewer than were asked for.
    """

    ratings: tuple[float, ...] = ()
    text: str = ""
    error: str = ""

    @property
    def mean(self) -> float | None:
        """Return the mean of the ratings."""
        return fmean(self.ratings) if self.ratings else None

    @property
    def spread(self) -> float | None:
        """Return the variance of the judge's ratings of this answer, where it was asked more than once."""
        return variance(self.ratings) if len(self.ratings) > 1 else None


def open_judge(name: str, url: str | None, limits: RequestLimits, replies: Replies) -> RemoteJudge | LocalJudge:
    """Open the judge `openai:MODEL` or `hf:MODEL`.

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


class Panel:
    """A judge with its prompts and its judgments so far.

    Args:
        judge: judge that rates.
        prompts: prompts for the judge.
        repeats: number of ratings of each answer.
    """

    def __init__(self, judge: Judge, prompts: PromptSet, repeats: int) -> None:
        self.judge, self.prompts, self.repeats = judge, prompts, repeats

    def journal(self, keep: Path | None) -> Journal:
        """Open the journal of this judge's words, in a folder that outlives the run."""
        kind, name, *_ = self.judge.identity
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{kind}-{name}")[:60]
        file = f"{slug}-{content_hash(self.judge.identity)[:HASH_CHARS]}.jsonl"
        return Journal(keep / "judgments" / file if keep is not None else None)

    def rate(self, exchanges: Sequence[Exchange], journal: Journal) -> list[Verdict]:
        """Rate every exchange.

        Args:
            exchanges: exchanges in any order.
            journal: journal; what is in it is not asked again.

        Returns:
            in the order of the exchanges.
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

    def _verdict(self, row: Sequence[Inquiry], journal: Journal, failed: dict[str, Judgment]) -> Verdict:
        kept = [record for inquiry in row if (record := journal.get(inquiry.key)) is not None]
        reasons = [failed[inquiry.key].error for inquiry in row if inquiry.key in failed]
        return Verdict(
            ratings=tuple(float(record["rating"]) for record in kept),
            text=str(kept[0]["text"]) if kept else "",
            error=_missing(len(row) - len(kept), len(row), reasons[0] if reasons else "not judged"),
        )


def _missing(missing: int, asked: int, reason: str) -> str:
    """Return the sentence on ratings that did not come."""
    if not missing or missing == asked:
        return reason if missing else ""
    return f"{missing} of {asked} ratings {'is' if missing == 1 else 'are'} missing: {reason}"
