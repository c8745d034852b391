"""The outcomes of a cell's items, as columns: tables are computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unlearnbench.errors import UsageError
from unlearnbench.records.cells import CellKey
from unlearnbench.records.items import TURN
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.item_files import VALUE
from unlearnbench.scoring.fluency import is_degenerate


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """A finished cell's N items.

    Attributes:
        ids: ids of the items, in the order of the cell.
        parts: part of each item.
        scores: (N,), in the benchmark's unit.
        choices: (N,), index of the chosen option; -1 where nothing is chosen.
        answers: (N,), index of the right option; -1 where there is none.
        degenerate: (N,), whether what the model wrote is no language; None where it wrote nothing anywhere.
        values: (N,) by name: `ItemResult.values`; NaN where an item has none.
    """

    ids: tuple[str, ...]
    parts: tuple[str, ...]
    scores: NDArray[np.float32]
    choices: NDArray[np.int8]
    answers: NDArray[np.int8]
    degenerate: NDArray[np.bool_] | None = None
    values: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """Return (N,), the number of the unit an item is resampled with: itself, or its conversation."""
        numbers: dict[str, int] = {}
        names = (name.rpartition(TURN)[0] or name for name in self.ids)
        return np.array([numbers.setdefault(name, len(numbers)) for name in names])

    @cached_property
    def binary(self) -> bool:
        """Return whether every item is simply right or wrong."""
        return bool(np.isin(self.scores, (0.0, 1.0)).all())

    def in_parts(self, parts: tuple[str, ...]) -> NDArray[np.bool_]:
        """Return (N,), true for items of one of the parts."""
        wanted = set(parts)
        return np.fromiter((part in wanted for part in self.parts), dtype=np.bool_, count=len(self.parts))

    def in_order_of(self, other: Outcomes) -> Outcomes:
        """Return the same items in another cell's order; raise KeyError with the first id that only one of them has."""
        if self.ids is other.ids or self.ids == other.ids:
            return self
        place = {name: number for number, name in enumerate(self.ids)}
        if odd := place.keys() ^ set(other.ids):
            raise KeyError(min(odd))
        order = np.array([place[name] for name in other.ids])
        return replace(
            self,
            ids=other.ids,
            parts=other.parts,
            scores=self.scores[order],
            choices=self.choices[order],
            answers=self.answers[order],
            degenerate=None if self.degenerate is None else self.degenerate[order],
            values={name: value[order] for name, value in self.values.items()},
        )


def read_outcomes(run: RunFolder, key: CellKey, identity: str, like: Outcomes | None = None) -> Outcomes:
    """Read a cell's per-item results as columns, without log-probabilities.

    Args:
        run: folder of the comparison.
        key: key of the cell.
        identity: identity of the cell.
        like: cell that was most likely asked the same; equal ids are kept in memory once.

    Raises:
        UsageError: the file is damaged.
    """
    path = run.items_path(key, identity)
    try:
        return read_columns(path, like)
    except (OSError, ValueError) as error:
        advice = f"run the comparison again, and {path.name} is set aside"
        raise UsageError(f"The items of {key} cannot be read: {error}; {advice}.") from error


def read_columns(path: Path, like: Outcomes | None = None) -> Outcomes:
    """Read a file of per-item results without the log-probabilities.

    Args:
        path: the cell's parquet file.
        like: cell that was most likely asked the same; equal ids are kept in memory once.

    Raises:
        ValueError: not a file of per-item results.
    """
    import pyarrow
    import pyarrow.parquet

    names = ["id", "part", "score", "choice", "answer", "text"]
    try:
        file = pyarrow.parquet.ParquetFile(path)  # read_table would import pandas
        values = [name for name in file.schema_arrow.names if name.startswith(VALUE)]
        table = file.read(columns=[*names, *values], use_threads=False)
        ids, parts = (tuple(table[name].to_pylist()) for name in ("id", "part"))
        texts = table["text"].to_pylist() if table["text"].unique().to_pylist() not in ([""], []) else []
        same = like is not None and like.ids == ids and like.parts == parts
        return Outcomes(
            ids=like.ids if like and same else ids,
            parts=like.parts if like and same else parts,
            scores=table["score"].to_numpy().astype(np.float32),
            choices=table["choice"].fill_null(-1).to_numpy().astype(np.int8),
            answers=table["answer"].fill_null(-1).to_numpy().astype(np.int8),
            degenerate=np.array([is_degenerate(text) for text in texts]) if texts else None,
            values={name.removeprefix(VALUE): table[name].to_numpy().astype(np.float32) for name in values},
        )
    except (pyarrow.ArrowException, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not a file of per-item results") from error
