"""The provenance of a report's numbers, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from unlearnbench.records.cells import CellResult
from unlearnbench.records.costs import COSTS
from unlearnbench.reports.finished import Finished
from unlearnbench.reports.formatting import cost_text, row_title
from unlearnbench.reports.units import moment

MOST_VALUES = 4  # that are shown where cells differ


def _git(state: Mapping[str, Any]) -> str:
    return f"{state['commit']}, {'with changes since' if state['changed'] else 'unchanged'}"


def listed(value: Any) -> str:
    """Return settings as a user gives them: `layer=3, subjects=virology anatomy`; unset ones are left out."""
    if isinstance(value, Mapping):
        mapping: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(f"{name}={listed(item)}" for name, item in mapping.items() if item is not None)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value).lower() if isinstance(value, bool) else str(value)


Words = tuple[str, Callable[[Any], str]]  # what a fact is called, and how it is said
OF_RUN: dict[str, Words] = {
    "model": ("base model", str),
    "base_weights": ("sha256 of its files", str),
    "dtype": ("dtype", str),
    "limit": ("items of each part", lambda limit: f"the first {limit}"),
    "device": ("computed on", str),
    "threads": ("threads", str),
    "python": ("Python", str),
    "torch": ("PyTorch", str),
    "transformers": ("Transformers", str),
    "unlearnbench": ("unlearnbench", str),
    "git": ("git commit", _git),
}
OF_ROW: dict[str, Words] = {
    "method": ("method", str),
    "method_distribution": ("from the package", str),
    "method_source": ("sha256 of its source", str),
    "budget": ("budget", listed),
    "method_options": ("options", listed),
    "weights": ("sha256 of the weights", str),
    "derived_from": ("made from the row", str),
    "noise_of": ("noise as strong as", str),
    "seed": ("seed", str),
    "written": ("written", moment),
}


def of_run(finished: Finished) -> list[tuple[str, str]]:
    """Return the provenance that all cells share, with every value where they differ, then each benchmark."""
    done = [cell.provenance for cell in finished.cells.values()]
    pairs: list[tuple[str, str]] = []
    for name, (label, words) in OF_RUN.items():
        values = list(dict.fromkeys(words(provenance[name]) for provenance in done if provenance.get(name) is not None))
        if values:
            pairs.append((label, " / ".join(values[:MOST_VALUES]) + (" / …" if len(values) > MOST_VALUES else "")))
    for head in finished.manifest.benchmarks:
        finished_cell = next(
            (
                candidate
                for candidate in finished.cells.values()
                if candidate.key.benchmark == head.name and candidate.status == "done"
            ),
            None,
        )
        if finished_cell is not None:
            pairs.append((head.name, _benchmark(finished_cell)))
    return pairs


def _benchmark(cell: CellResult) -> str:
    facts = cell.provenance
    labelled = {
        "from the package": facts.get("benchmark_distribution"),
        "options": listed(facts.get("benchmark_options") or {}),
        "revision of the data": facts.get("data_revision"),
        "sha256 of its questions": facts.get("data"),
    }
    return "; ".join(f"{label} {value}" for label, value in labelled.items() if value)


def of_rows(finished: Finished) -> list[dict[str, Any]]:
    """Return each row's own provenance, from its first cell."""
    found: list[dict[str, Any]] = []
    for row in finished.rows:
        cell = next((finished.cells[name] for name in row.cells if name in finished.cells), None)
        if cell is None:
            continue
        facts = {name: value for name, value in cell.provenance.items() if value not in (None, {})}
        pairs = [(label, words(facts[name])) for name, (label, words) in OF_ROW.items() if name in facts]
        cost = [f"{figure.label} {cost_text(figure, cell.cost)}{figure.remark}" for figure in COSTS if figure.of(cell.cost)]
        found.append({"name": row_title(row.variant), "pairs": [*pairs, ("cost", ", ".join(cost)), ("cell", str(cell.key))]})
    return found
