"""Models' answers, beside each other in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from unlearnbench.records.items import ItemResult
from unlearnbench.reports.formatting import printable

SIDE_BY_SIDE = 90  # columns from which two answers stand beside each other


@dataclass(frozen=True)
class Written:
    """One row's answers; `name` is their heading."""

    name: str
    items: Sequence[ItemResult]


def render(left: Written, right: Written | None, *, width: int, judgments: bool = True) -> Iterator[RenderableType]:
    """Yield one block for each item: the question, the answers and the judge's words.

    Nothing in the texts is obeyed: no markup, no control characters.

    Args:
        left: answers of the untouched model, or the only ones.
        right: answers of another row to the same items.
        width: width of the terminal; in a narrow one the answers are below each other.
        judgments: True shows the judge's words, too.
    """
    others = {item.id: item for item in right.items} if right else {}
    for item in left.items:
        pairs = [(left.name, item), *([(right.name, others[item.id])] if right and item.id in others else [])]
        question = Panel(_plain(item.question or "(the question was not kept)"), title=_plain(f"{item.id} · {item.part}"))
        yield Group(question, _answers(pairs, width=width, judgments=judgments))


def _answers(pairs: Sequence[tuple[str, ItemResult]], *, width: int, judgments: bool) -> RenderableType:
    blocks = [Panel(_block(item, judgments=judgments), title=_title(name, item), title_align="left") for name, item in pairs]
    if len(blocks) == 1 or width < SIDE_BY_SIDE:
        return Group(*blocks)
    table = Table.grid(expand=True)
    for _ in blocks:
        table.add_column(ratio=1)
    table.add_row(*blocks)
    return table


def _title(name: str, item: ItemResult) -> Text:
    score = "no score" if math.isnan(item.score) else f"{item.score:.2f}"
    several = f" (mean of {', '.join(f'{rating:g}' for rating in item.ratings)})" if len(item.ratings) > 1 else ""
    return _plain(f"{name}: {score}{several}", "bold")


def _block(item: ItemResult, *, judgments: bool) -> Text:
    text = _plain(item.text or ("" if item.error else "(an empty answer)"))
    if item.error:
        why = item.error if item.scored else f"no score: {item.error}"
        text.append_text(_plain(f"{'' if not item.text else chr(10) * 2}{why}", "red"))
    if judgments and item.judgment:
        text.append_text(_plain(f"\n\njudge: {item.judgment.strip()}", "dim"))
    return text


def _plain(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)
