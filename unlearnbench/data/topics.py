"""A topic's two corpora, and how long their texts may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unlearnbench.data.tables import Table


@dataclass(frozen=True, kw_only=True)
class TopicData:
    """One topic's corpora as read.

    Attributes:
        name: of the topic.
        forget: rows of the forget corpus.
        retain: rows of the retain corpus.
        max_length: tokens that are left of a forget text at most; None leaves it to the method's budget.
        retain_max_length: likewise of a retain text.
        min_chars: texts of at most so many characters are left out.
    """

    name: str
    forget: Table
    retain: Table
    max_length: int | None
    retain_max_length: int | None
    min_chars: int

    def identity(self) -> list[object]:
        """What of a topic may change the unlearned weights."""
        cuts = [self.max_length, self.retain_max_length, self.min_chars]
        return [self.name, self.forget.digest, self.retain.digest, *cuts]

    def longest(self, side: Literal["forget", "retain"], budget: int) -> int:
        """Tokens per text for a method whose budget allows so many: what the corpus allows, and never more than the budget."""
        own = self.max_length if side == "forget" else self.retain_max_length
        return budget if own is None else min(own, budget)
