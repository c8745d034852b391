"""The plan of a comparison as it is kept in its folder: benchmarks, rows and the cells that belong to them."""

from __future__ import annotations

from typing import Any, Literal

from unlearnbench.records.base import Record
from unlearnbench.records.cells import CellKey, Metric


class ManifestBenchmark(Record):
    """A benchmark of the comparison; `forget_parts` are those that the topics claim."""

    name: str
    metric: Metric
    parts: list[str]
    forget_parts: list[str]
    topics: dict[str, list[str]]  # topic -> its parts of this benchmark
    groups: dict[str, list[str]] = {}  # parts that are also reported together
    data: str = ""  # hash of all that is asked, which the texts of its items are kept under


class ManifestRow(Record):
    """A row of the comparison and the identities of its cells; `tuned` labels settings that a search found."""

    variant: str
    method: str
    hash: str
    seeds: list[int]
    cells: dict[str, str]  # str(CellKey) -> identity
    tuned: str | None = None

    def key(self, name: str) -> CellKey:
        """Return the key of one of the row's cells, by its name; a benchmark's name may have slashes, and so may a row's."""
        benchmark, _, seed = name.removeprefix(f"{self.variant}/").rpartition("/")
        return CellKey(variant=self.variant, benchmark=benchmark, seed=int(seed) if seed.isdecimal() else -1)


class Manifest(Record):
    """The plan behind a run folder's leaderboard: written before the first cell is computed."""

    schema_version: Literal[1] = 1
    recipe: dict[str, Any]
    benchmarks: list[ManifestBenchmark]
    rows: list[ManifestRow]


BASELINE = "none"
CHECKPOINT = "checkpoint"  # the method of a row that is somebody's finished model
RANDOM_NOISE = "random-noise"  # the method of a row that changes what another row changes, by as much, at random
