"""A topic's two corpora, and the largest length of their texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unlearnbench.data.tables import Table


@dataclass(frozen=True, kw_only=True)
class TopicData:
    """One topic's corpora as read.

    Attributes:
        name: name of the topic.
        forget: rows of the forget corpus.
        retain: rows of the retain corpus.
        max_length: largest length of a forget text in tokens; None leaves it to the method's budget.
        retain_max_length: largest length of a retain text in tokens; None leaves it to the method's budget.
        min_chars: number of characters; texts of at most so many are left out.
    """

    name: str
    forget: Table
    retain: Table
    max_length: int | None
    retain_max_length: int | None
    min_chars: int

    def identity(self) -> list[object]:
        """Return the parts of a topic that may change the unlearned weights."""
        cuts = [self.max_length, self.retain_max_length, self.min_chars]
        return [self.name, self.forget.digest, self.retain.digest, *cuts]

    def longest(self, side: Literal["forget", "retain"], budget: int) -> int:
        """Return the tokens per text for a method's budget: those that the corpus allows, and never more than the budget."""
        limit = self.max_length if side == "forget" else self.retain_max_length
        return budget if limit is None else min(limit, budget)
