"""The plan of a comparison, as its folder keeps it: benchmarks, rows and the cells that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from unlearnbench.records.base import Half, Options, Record, without_empty
from unlearnbench.records.cells import CellKey, Measure, Metric


class ManifestMeasure(Record):
    """One of a benchmark's measures; `forget_parts` and `topics` are those of `ManifestBenchmark`, of the measure's parts."""

    measure: Measure
    parts: list[str]
    forget_parts: list[str] = []
    topics: dict[str, list[str]] = {}


class ManifestBenchmark(Record):
    """A benchmark of the comparison; `forget_parts` are the parts that topics claim.

    A benchmark with `measures` has a column for each of them; `metric` is then the meaning of its items' scores.
    """

    name: str
    metric: Metric
    parts: list[str]
    forget_parts: list[str]
    topics: dict[str, list[str]]  # topic -> its parts of this benchmark
    groups: dict[str, list[str]] = {}  # parts that are also reported together
    data: str = ""  # hash of all that is asked, which the texts of its items are kept under
    measures: list[ManifestMeasure] = []

    @property
    def benchmark(self) -> str:
        """The name of the benchmark whose cells hold the figures."""
        return self.name

    @property
    def primary(self) -> bool:
        """True where it counts in F or K."""
        return True

    @property
    def measure(self) -> Measure | None:
        """The measure that it stands for; None for a benchmark with one figure."""
        return None


class MeasureHead(ManifestBenchmark):
    """A measure as a table reads it: a benchmark called BENCHMARK:MEASURE. It is never written to disk."""

    source: str
    read_as: Measure

    @property
    def benchmark(self) -> str:
        """The name of the benchmark whose cells hold the figures."""
        return self.source

    @property
    def primary(self) -> bool:
        """True where it counts in F or K."""
        return self.read_as.primary

    @property
    def measure(self) -> Measure | None:
        """The measure that it stands for."""
        return self.read_as


def heads_of(benchmarks: Sequence[ManifestBenchmark]) -> list[ManifestBenchmark]:
    """Return a table's benchmarks; one with measures is replaced by a head for each measure."""
    return [
        head
        for benchmark in benchmarks
        for head in ([_of_measure(benchmark, planned) for planned in benchmark.measures] or [benchmark])
    ]


def _of_measure(head: ManifestBenchmark, planned: ManifestMeasure) -> MeasureHead:
    return MeasureHead(
        name=f"{head.name}:{planned.measure.name}",
        metric=planned.measure.metric,
        parts=planned.parts,
        forget_parts=planned.forget_parts,
        topics=planned.topics,
        data=head.data,
        source=head.name,
        read_as=planned.measure,
    )


class ManifestAttack(Record):
    """An attack on every row of the comparison.

    Attributes:
        label: name of the attack in the comparison.
        attack: the plugin's name.
        options: options of the attack.
        access: part of the model that an attacker needs: `prompt`, `activations` or `weights`.
        teaches: True where it shows texts on the topic.
        stress: True for a fixed transformation, which chooses nothing.
        half: half of the items that its figures are of; None for all, where nothing was chosen on the other half.
        benchmarks: benchmarks that the attacked models are scored with.
        axis: steps that are counted along the attack, such as `update` or `block`; empty where nothing is.
    """

    label: str
    attack: str
    options: Options = {}
    access: str
    teaches: bool
    stress: bool
    half: Half | None = None
    benchmarks: list[str]
    axis: str = ""


class ManifestRow(Record):
    """A row of the comparison and the identities of its cells; `tuned` labels settings that a search found.

    Cells under an attack are apart: a row is finished without them.
    """

    variant: str
    method: str
    hash: str
    seeds: list[int]
    cells: dict[str, str]  # str(CellKey) -> identity
    tuned: str | None = None
    attacked: dict[str, str] = {}  # likewise

    def key(self, name: str) -> CellKey:
        """Return the key of one of the row's cells, by its name; a benchmark's name may have slashes, and so may a row's."""
        benchmark, _, tail = name.removeprefix(f"{self.variant}/").rpartition("/")
        seed, _, attack = tail.partition("!")
        number = int(seed) if seed.isdecimal() else -1
        return CellKey(variant=self.variant, benchmark=benchmark, seed=number, attack=attack or None)

    @property
    def all_cells(self) -> dict[str, str]:
        """The identities of all its cells, attacked ones last."""
        return {**self.cells, **self.attacked}

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty(handler(self), "attacked")


class Manifest(Record):
    """The plan behind a run folder's leaderboard: written before the first cell is computed."""

    schema_version: Literal[1] = 1
    recipe: dict[str, Any]
    benchmarks: list[ManifestBenchmark]
    attacks: list[ManifestAttack] = []
    rows: list[ManifestRow]

    @model_serializer(mode="wrap")
    def _leave_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty(handler(self), "attacks")


BASELINE = "none"
CHECKPOINT = "checkpoint"  # the method of a row that is somebody's finished model
RANDOM_NOISE = "random-noise"  # the method of a row that changes what another row changes, by as much, at random
