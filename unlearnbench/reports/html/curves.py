"""The values that methods logged during training, as small charts."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from unlearnbench.records.manifest import ManifestRow
from unlearnbench.reports.finished import Finished
from unlearnbench.reports.html.charts import PALETTE, Chart, as_chart, shown
from unlearnbench.runs.folder import folder_name
from unlearnbench.system.files import HASH_CHARS

METRICS = "metrics.csv"
MOST_POINTS = 300  # of a line; more would not be seen
MOST_BYTES = 32 * 2**20  # of a log that is read
DASHES = ("solid", "dash", "dot", "dashdot")


class Line(NamedTuple):
    """One quantity of one seed over the updates."""

    seed: int
    name: str
    updates: list[int]
    values: list[float]


def curves(finished: Finished) -> dict[str, list[Chart]]:
    """Return the charts of each row that logged something, by its name."""
    found = {row.variant: list(charts_of(row, finished.run.root).values()) for row in finished.rows}
    return {variant: charts for variant, charts in found.items() if charts}


def charts_of(row: ManifestRow, root: Path) -> dict[str, Chart]:
    """Return one chart for each kind of quantity that a row logged: the part of its name before the last slash."""
    kinds: dict[str, list[Line]] = {}
    for line in logged_lines(row, root):
        kinds.setdefault(line.name.rpartition("/")[0] or line.name, []).append(line)
    return {kind: _chart(f"{row.variant}: {_quantity(kind, of_kind)}", of_kind) for kind, of_kind in kinds.items()}


def logged_lines(row: ManifestRow, root: Path) -> Iterator[Line]:
    """Yield the values that a row logged over its trainings, in the comparison's folder."""
    for seed in row.seeds:
        yield from _read(root / "logs" / folder_name(row.variant), seed)


def _quantity(kind: str, lines: Iterable[Line]) -> str:
    """Return the quantities of a chart: `min (kl, nll)`; with one line, its whole name."""
    names = list(dict.fromkeys(line.name for line in lines))
    if len(names) == 1:
        return names[0]
    return f"{kind} ({', '.join(name.rpartition('/')[2] for name in names)})"


def _read(folder: Path, seed: int) -> Iterable[Line]:
    """Return the lines of one seed's metrics.csv; the newest, where an older comparison left one."""
    files = sorted(folder.glob(f"seed-{seed}-{'?' * HASH_CHARS}/{METRICS}"), key=lambda path: path.stat().st_mtime)
    if not files or files[-1].stat().st_size > MOST_BYTES:
        return []
    points: dict[str, Line] = {}
    with files[-1].open(encoding="utf-8", errors="replace", newline="") as file:
        for record in csv.DictReader(file):
            try:
                update, value = int(record["update"]), float(record["value"])
            except (KeyError, TypeError, ValueError):
                continue
            if math.isfinite(value):
                line = points.setdefault(str(record.get("name")), Line(seed, str(record.get("name")), [], []))
                line.updates.append(update)
                line.values.append(value)
    return points.values()


def _chart(title: str, lines: list[Line]) -> Chart:
    import plotly.graph_objects as go

    names = list(dict.fromkeys(line.name for line in lines))
    seeds = list(dict.fromkeys(line.seed for line in lines))
    traces: list[go.Scatter] = []
    for line in lines:
        short = line.name.rpartition("/")[2] if len(names) > 1 else line.name
        style = {
            "color": PALETTE[names.index(line.name) % len(PALETTE)],
            "dash": DASHES[seeds.index(line.seed) % len(DASHES)],
            "width": 1.6,
        }
        label = f"{shown(short, 24)}{f', seed {line.seed}' if len(seeds) > 1 else ''}"
        step = max(1, math.ceil(len(line.updates) / MOST_POINTS))
        x, y = line.updates[::step], [float(f"{value:.5g}") for value in line.values[::step]]
        traces.append(go.Scatter(x=x, y=y, mode="lines+markers" if len(x) < 3 else "lines", line=style, name=label))
    ends = [f"{line.name} from {line.values[0]:.3g} to {line.values[-1]:.3g}" for line in lines[:6]]
    return as_chart(
        traces,
        height=280,
        title=shown(title),
        xaxis={"rangemode": "tozero", "title": {"text": "update", "font": {"size": 10}, "standoff": 4}},
        yaxis={"tickformat": "~g"},
        showlegend=len(traces) > 1,
        legend={"orientation": "h", "y": -0.25, "yanchor": "top", "font": {"size": 10}},
        margin={"l": 10, "r": 10, "t": 36, "b": 10},
        alt=f"{title} over updates: {'; '.join(ends)}.",
    )
