"""`unlearnbench show`: one cell of a comparison, with everything its number came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearnbench.errors import UsageError, closest
from unlearnbench.reports.units import amount, duration, size

if TYPE_CHECKING:
    from unlearnbench.records.cells import CellResult, Cost
    from unlearnbench.records.costs import CostFigure

# what stands together, in this order; what is in no group comes last
GROUPS = {
    "weights": ("model", "base_weights", "weights", "dtype"),
    "method": (
        "method",
        "method_distribution",
        "method_source",
        "method_options",
        "budget",
        "trainer",
        "derived_from",
        "noise_of",
        "seed",
        "topics",
        "corpora",
    ),
    "benchmark": (
        "benchmark_distribution",
        "benchmark_source",
        "benchmark_options",
        "data",
        "data_revision",
        "prompt_version",
        "limit",
        "cached",
    ),
    "code": ("unlearnbench", "training_source", "scoring_source", "core_source", "git"),
    "machine": ("device", "threads", "platform", "cuda", "python"),
}
LISTED = 20  # names in a message; a comparison may have hundreds


def show(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    cell: Annotated[
        str | None, typer.Argument(help="variant/benchmark/seed, with !ATTACK under one; without it the cells are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cell's record as JSON.")] = False,
) -> None:
    """Show where a number comes from: weights, method, data, prompts, code, machine, and what it cost."""
    from unlearnbench.runs.folder import RunFolder
    from unlearnbench.runs.reading import read_cells, read_manifest

    if not run.is_dir():
        raise UsageError(f"There is no folder {run}; `unlearnbench compare` makes one, by default under runs/.")
    folder = RunFolder(run)
    manifest = read_manifest(folder)
    planned = [name for row in manifest.rows for name in row.all_cells]
    finished = read_cells(folder, manifest)
    if cell is None:
        for name in planned:
            typer.echo(f"{name}: {_result(finished[name]) if name in finished else 'not computed yet'}")
        return
    name = _find(cell, planned, run)
    if name not in finished:
        raise UsageError(f"The cell {name} is not computed yet; `unlearnbench compare {run}/recipe.yaml --out {run}` does it.")
    typer.echo(finished[name].model_dump_json(indent=1) if as_json else "\n".join(_lines(name, finished[name])))


def _find(given: str, planned: list[str], run: Path) -> str:
    """Return the cell's full name; a beginning will do where only one cell has it.

    Raises:
        UsageError: no such cell, or several.
    """
    if given in planned:
        return given
    beginning = [name for name in planned if name.startswith(f"{given.rstrip('/')}/")]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        raise UsageError(f"'{given}' stands for {len(beginning)} cells: {_some(beginning)}.")
    guess = closest(given, planned)
    meant = f" Did you mean '{guess}'?" if guess else ""
    raise UsageError(f"There is no cell '{given}' in {run}.{meant} A cell is VARIANT/BENCHMARK/SEED: {_some(planned)}.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _result(cell: CellResult) -> str:
    if cell.status != "done" or cell.value is None or cell.metric is None:
        return f"{cell.status}: {cell.error}"
    return f"{cell.metric.name} {cell.value:.4g} over {cell.n} items"


def _lines(name: str, cell: CellResult) -> Iterator[str]:
    yield f"{name}: {_result(cell)}"
    if len(cell.parts) > 1:
        yield "  " + ", ".join(f"{part} {part_score.value:.4g} ({part_score.n})" for part, part_score in cell.parts.items())
    if cell.measures:
        known = ((name, measure) for name, measure in cell.measures.items() if measure.value is not None)
        yield "  " + ", ".join(f"{name} {measure.value:.4g} ({measure.n})" for name, measure in known)
    facts = dict(cell.provenance)
    yield from _section("cost", _cost(cell.cost))
    for title, keys in GROUPS.items():
        yield from _section(title, {key: facts.pop(key) for key in keys if key in facts})
    yield from _section("libraries and the rest", facts)
    yield from _section("record", {"identity": cell.identity})


def _cost(cost: Cost) -> dict[str, str]:
    """Return the costs in units that people read; a cost that was not measured is left out."""
    from unlearnbench.records.costs import COSTS

    shown = {figure.label: (figure, figure.of(cost)) for figure in COSTS}
    return {label: f"{_amount(figure, value)}{figure.remark}" for label, (figure, value) in shown.items() if value is not None}


def _amount(figure: CostFigure, value: float) -> str:
    if figure.unit == "seconds":
        return _seconds(value)
    return size(int(value)) if figure.unit == "bytes" else amount(int(value))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else duration(seconds)


def _section(title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts:
        return
    yield f"\n{title}"
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield f"  {name.replace('_', ' ')}"
            yield from (f"    {key}: {_value(item)}" for key, item in value.items())
        elif isinstance(value, list) and len(value) > 1:
            yield f"  {name.replace('_', ' ')}"
            yield from (f"    {_value(item)}" for item in value)
        else:
            yield f"  {name.replace('_', ' '):24} {_value(value)}"


def _value(value: Any) -> str:
    if value is None or value in ({}, []):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items())
    return str(value)
