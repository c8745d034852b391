"""A comparison as pandas frames: one line for each row of the table, score, item, written answer or logged value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from unlearnbench.errors import UsageError
from unlearnbench.records.items import TURN, ItemResult, ItemText
from unlearnbench.records.leaderboard import Estimate, Leaderboard

if TYPE_CHECKING:
    from pandas import DataFrame

    from unlearnbench.records.manifest import ManifestBenchmark
    from unlearnbench.reports.finished import Finished

Frame = Literal["rows", "scores", "items", "conversations", "curves"]

OF_ITEM = ("id", "part", "score", "choice", "answer", "logprobs", "tokens", "truncated", "error")
OF_ANSWER = ("id", "part", "score", "text", "ratings", "judgment", "error")


def rows(board: Leaderboard) -> DataFrame:
    """Return the table as in `unlearnbench leaderboard --format csv`, without the row of chance."""
    import pandas

    from unlearnbench.reports.text import plain

    head, lines = plain(board)
    return pandas.DataFrame(lines[: len(board.rows)], columns=head)


def scores(board: Leaderboard) -> DataFrame:
    """Return every score: of a benchmark (`of` is `whole`), of a seed, a part or a group of parts, and figures beside the
    score.
    """
    import pandas

    head = ("variant", "benchmark", "of", "name", "value", "low", "high", "n")
    lines = [
        (row.variant, benchmark, kind, name, estimate.value, estimate.low, estimate.high, estimate.n)
        for row in board.rows
        for benchmark, score in row.scores.items()
        for kind, name, estimate in (
            ("whole", "", score),
            *(("seed", seed, Estimate(value=value)) for seed, value in score.by_seed.items()),
            *(("part", part, part_score) for part, part_score in score.parts.items()),
            *(("group", group, group_score) for group, group_score in score.groups.items()),
            *(("figure", name, Estimate(value=value)) for name, value in score.figures.items()),
        )
    ]
    return pandas.DataFrame(lines, columns=head)


def items(finished: Finished) -> DataFrame:
    """Return every model's result on every item, with the question and its options where they are kept."""
    return _frame(
        ["variant", "benchmark", "seed", *OF_ITEM, "values", "question", "options"],
        (
            {
                **where,
                **_columns(found, OF_ITEM),
                "question": [texts[item.id].text if item.id in texts else item.question for item in found],
                "values": [dict(item.values) for item in found],
                "options": [texts[item.id].options if item.id in texts else () for item in found],
            }
            for where, found, texts in _cells(finished)
        ),
    )


def conversations(finished: Finished) -> DataFrame:
    """Return every model's answers, turn by turn, with the user's turns and the ratings."""
    return _frame(
        ["variant", "benchmark", "seed", "conversation", "turn", "question", *OF_ANSWER, "reference"],
        (
            {
                **where,
                **_columns(found, OF_ANSWER),
                "conversation": [item.id.rpartition(TURN)[0] or item.id for item in found],
                "turn": [int(turn) if (turn := item.id.rpartition(TURN)[2]).isdecimal() else 1 for item in found],
                "question": [item.question or (texts[item.id].text if item.id in texts else "") for item in found],
                "reference": [texts[item.id].reference if item.id in texts else "" for item in found],
            }
            for where, every, texts in _cells(finished)
            if (found := [item for item in every if item.text or item.question])
        ),
    )


def curves(finished: Finished) -> DataFrame:
    """Return the values that methods logged during training, over their updates; see each method's page for the units."""
    from unlearnbench.reports.html.curves import logged_lines

    return _frame(
        ["variant", "seed", "update", "name", "value"],
        (
            {"variant": row.variant, "seed": line.seed, "update": line.updates, "name": line.name, "value": line.values}
            for row in finished.rows
            for line in logged_lines(row, finished.run.root)
        ),
    )


def _cells(finished: Finished) -> Iterator[tuple[dict[str, Any], list[ItemResult], Mapping[str, ItemText]]]:
    """Yield each finished cell: its place in the table, its items, and their questions.

    Raises:
        UsageError: a file is damaged.
    """
    for head in finished.manifest.benchmarks:
        texts = _texts(finished, head)
        for row in finished.rows:
            for seed, cell in finished.done(row, head):
                try:
                    found = finished.run.read_items(cell.key, cell.identity)
                except (OSError, ValueError) as error:
                    advice = "run the comparison again, and they are computed anew"
                    raise UsageError(f"The items of {cell.key} cannot be read: {error}; {advice}.") from error
                yield {"variant": row.variant, "benchmark": head.name, "seed": seed}, found, texts


def _texts(finished: Finished, head: ManifestBenchmark) -> Mapping[str, ItemText]:
    return finished.run.read_texts(head.name, head.data) if head.data else {}


def _columns(found: Sequence[ItemResult], names: Sequence[str]) -> dict[str, list[Any]]:
    assert set(names) <= {field.name for field in fields(ItemResult)}
    return {name: [getattr(item, name) for item in found] for name in names}


def _frame(head: Sequence[str], blocks: Iterable[dict[str, Any]]) -> DataFrame:
    """Put the blocks below each other; a value that is no list holds for all lines of its block."""
    import pandas

    columns: dict[str, list[Any]] = {name: [] for name in head}
    for block in blocks:
        count = max(len(values) for values in block.values() if isinstance(values, list))
        for name, values in block.items():
            columns[name] += values if isinstance(values, list) else [values] * count
    return pandas.DataFrame(columns)
