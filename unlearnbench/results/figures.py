"""The report's charts as plotly figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from unlearnbench.reports.finished import Finished
    from unlearnbench.reports.html.charts import Chart


def figures(finished: Finished) -> dict[str, Figure]:
    """Return every chart of the comparison, by name: `plane`, `parts/BENCHMARK`, `letters/BENCHMARK`, `curves/ROW/NAME`."""
    from plotly.graph_objects import Figure

    drawn = {name: chart for name, chart in _charts(finished) if chart is not None}
    return {name: Figure(data=chart["data"], layout=chart["layout"]) for name, chart in drawn.items()}


def _charts(finished: Finished) -> Iterator[tuple[str, Chart | None]]:
    from unlearnbench.leaderboard.reading import read_items
    from unlearnbench.records.manifest import heads_of
    from unlearnbench.reports.html import charts
    from unlearnbench.reports.html.curves import charts_of

    outcomes = read_items(finished.run, finished.cells)
    yield "plane", charts.plane(finished.board)
    for head in heads_of(finished.manifest.benchmarks):
        yield f"parts/{head.name}", charts.heat_map(finished, head)
    for head in finished.manifest.benchmarks:
        yield f"letters/{head.name}", charts.letters(finished, head, outcomes)
    for row in finished.rows:
        for kind, chart in charts_of(row, finished.run.root).items():
            yield f"curves/{row.variant}/{kind}", chart
