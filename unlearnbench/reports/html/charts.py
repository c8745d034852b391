"""The report's charts as plotly figures: the forget/keep plane, change by part, answer letters.

Colours: Okabe and Ito, "Color Universal Design" (2008), and a marker of its own for each row; what depends on the colour
scheme is set in the browser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.leaderboard import Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE, ManifestBenchmark
from unlearnbench.reports.finished import Finished
from unlearnbench.reports.formatting import figure, row_title
from unlearnbench.scoring.choice.prompts import LETTERS

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A8A8A")
GREY = "#8A8F96"  # reads on light and dark
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "hexagon", "star")
NAMED = 12  # rows whose names stand beside their points; more would cover each other
LABELLED = 10  # rows up to which a heat map has figures in its cells
LEVELS = (0.2, 0.4, 0.6, 0.8)  # of S, as curves in the plane
Chart = dict[str, Any]


def shown(text: str, most: int = 60) -> str:
    """Return text for a chart, where plotly would read markup."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_chart(data: Sequence[Any], *, alt: str, height: int, title: str = "", **layout: Any) -> Chart:
    """Return a checked plotly figure as JSON-able data, with its size and a description for readers who cannot see it."""
    import plotly.graph_objects as go

    if title:
        layout["title"] = {"text": title, "font": {"size": 13}, "x": 0.02}
    content: Any = go.Figure(data=list(data), layout={"template": None, "height": height, **layout}).to_plotly_json()
    content["layout"].pop("template", None)
    return {"data": content["data"], "layout": content["layout"], "alt": alt, "height": height}


def plane(board: Leaderboard) -> Chart | None:
    """Draw every row at (K, F) with its intervals, each of its seeds, the Pareto front, and curves of equal S."""
    import plotly.graph_objects as go

    rows = [row for row in board.rows if row.summary and _point(row)]
    if not rows:
        return None
    traces: list[Any] = [_level(level) for level in LEVELS]
    front = sorted(point for row in rows if row.summary and row.summary.pareto and (point := _point(row)))
    if front:
        x, y = [0, *(point[0] for point in front), front[-1][0]], [front[0][1], *(point[1] for point in front), 0]
        line = {"color": GREY, "dash": "dash", "width": 1.5, "shape": "vh"}
        traces.append(go.Scatter(x=x, y=y, mode="lines", line=line, name="Pareto front", hoverinfo="skip"))
    base = go.Scatter(x=[1.0], y=[0.0], mode="markers+text", text=["base"], textposition="top left", hoverinfo="skip")
    base.update(marker={"symbol": "x-thin-open", "size": 11, "color": GREY}, showlegend=False)
    traces.append(base)
    for number, row in enumerate(rows):
        if row.variant in board.reference:
            traces.append(_reference_trace(row, board))
        else:
            traces += _row_traces(row, number, named=len(rows) <= NAMED)
    return as_chart(
        traces,
        height=560,
        xaxis={"title": {"text": "K: share kept →"}, "range": [-0.04, 1.12]},
        yaxis={"title": {"text": "F: share forgotten →"}, "range": [-0.04, 1.06]},
        legend={"itemsizing": "constant"},
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        hovermode="closest",
        alt=_plane_alt(rows),
    )


def _point(row: Row) -> tuple[float, float] | None:
    if row.summary is None or row.summary.forget.value is None or row.summary.keep.value is None:
        return None
    return row.summary.keep.value, row.summary.forget.value


def _reference_trace(row: Row, board: Leaderboard) -> Any:
    """Return the reference's point: F is 1 by definition, and its bar is how far the noise of its own score reaches."""
    import plotly.graph_objects as go

    assert row.summary is not None
    reach = _reach(row, board)
    hover = f"{shown(row.variant)}<br>the reference: F is 1 by definition<br>K {_with_span(row.summary.keep)}"
    if reach is not None:
        hover += f"<br>the interval of its own score reaches {figure(reach)} below"
    return go.Scatter(
        x=[row.summary.keep.value],
        y=[row.summary.forget.value],
        error_x=_bars(row.summary.keep, GREY),
        error_y=_bars(Estimate(value=1.0, low=None if reach is None else 1 - reach, high=1.0), GREY),
        mode="markers+text",
        text=[shown(row.variant, 24)],
        textposition="top left",
        marker={"symbol": "star", "size": 15, "color": GREY},
        name=f"{shown(row.variant, 30)} (reference)",
        hovertext=[hover],
        hoverinfo="text",
        meta={"row": row.variant},
    )


def _reach(row: Row, board: Leaderboard) -> float | None:
    """Return how far the ends of the reference's intervals are from its scores, as a share of the base's distance."""
    base = next((other for other in board.rows if other.variant == BASELINE), None)
    found: list[float] = []
    for column in board.columns:
        estimate, known = row.columns.get(column.title), base.columns.get(column.title) if base else None
        if column.role != "forget" or not column.primary or not column.informative or estimate is None or known is None:
            continue
        value, low, high = estimate.value, estimate.low, estimate.high
        if value is None or low is None or high is None or known.value is None or column.ideal is None:
            continue
        found.append(max(high - value, value - low) / abs(known.value - column.ideal))
    return round(min(sum(found) / len(found), 1.0), 6) if found else None


def _row_traces(row: Row, number: int, *, named: bool) -> list[Any]:
    """Return a row's point, and its seeds where there are several."""
    import plotly.graph_objects as go

    summary = row.summary
    assert summary is not None
    look = {"color": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)]}
    shares = {"F": summary.forget, "K": summary.keep, "S": summary.score}
    hover = "<br>".join([shown(row.variant), *(f"{name} {_with_span(share)}" for name, share in shares.items())])
    hover += f"<br>{row.verdict or row.status}"
    whole = go.Scatter(
        x=[summary.keep.value],
        y=[summary.forget.value],
        error_x=_bars(summary.keep, look["color"]),
        error_y=_bars(summary.forget, look["color"]),
        mode="markers+text" if named else "markers",
        text=[shown(row.variant, 24)],
        textposition="top left" if (summary.keep.value or 0) > 0.5 else "top right",
        marker={**look, "size": 12},
        name=shown(row.variant, 30),
        legendgroup=str(number),
        hovertext=[hover],
        hoverinfo="text",
        meta={"row": row.variant},
    )
    points = [
        (seed, of_seed.keep, of_seed.forget)
        for seed, of_seed in summary.by_seed.items()
        if None not in (of_seed.keep, of_seed.forget)
    ]
    if len(points) < 2:
        return [whole]
    seeds = go.Scatter(
        x=[keep for _, keep, _ in points],
        y=[forget for _, _, forget in points],
        mode="markers",
        marker={"color": look["color"], "symbol": f"{look['symbol']}-open", "size": 7},
        legendgroup=str(number),
        showlegend=False,
        hovertext=[f"{shown(row.variant)}, seed {seed}" for seed, _, _ in points],
        hoverinfo="text",
        meta={"seeds": row.variant},
    )
    return [seeds, whole]


def _bars(estimate: Estimate, color: str) -> dict[str, Any]:
    """Return the interval as error bars, which need not be of one length."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return {"visible": False}
    above, below = estimate.high - estimate.value, estimate.value - estimate.low
    return {"type": "data", "symmetric": False, "array": [above], "arrayminus": [below], "color": color, "thickness": 1.3}


def _level(level: float) -> Any:
    """Return K and F whose harmonic mean is `level`."""
    import plotly.graph_objects as go

    keep = np.geomspace(level / (2 - level), 1, 40)
    forget = level * keep / (2 * keep - level)
    points = [(round(float(k), 4), round(float(f), 4)) for k, f in zip(keep, forget, strict=True)]
    labels = [*[""] * 39, f"\u2002S {figure(level, digits=1)}"]
    return go.Scatter(
        x=[k for k, _ in points],
        y=[f for _, f in points],
        mode="lines+text",
        text=labels,
        textposition="middle right",
        textfont={"size": 10},
        line={"color": GREY, "width": 0.7, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
    )


def _with_span(estimate: Estimate) -> str:
    if estimate.low is None:
        return figure(estimate.value)
    return f"{figure(estimate.value)} ({figure(estimate.low)}–{figure(estimate.high)})"


def _plane_alt(rows: Sequence[Row]) -> str:
    points = [
        f"{row.variant}: F {figure(row.summary.forget.value)}, K {figure(row.summary.keep.value)}"
        for row in rows
        if row.summary
    ]
    return "Plane of what is forgotten (F) against what is kept (K), best at the top right. " + "; ".join(points) + "."


def heat_map(finished: Finished, head: ManifestBenchmark) -> Chart | None:
    """Draw each row's change against the base on every part of a benchmark; parts near the hazards and targets are marked."""
    import plotly.graph_objects as go

    board = finished.board
    base = next((row for row in board.rows if row.variant == BASELINE), None)
    rows = [row for row in board.rows if row.variant != BASELINE and head.name in row.scores]
    if base is None or head.name not in base.scores or not rows or len(head.parts) < 2:
        return None
    near = head.groups.get("near domains", [])
    parts = sorted(head.parts, key=lambda part: (part not in head.forget_parts, part not in near))
    labels = [f"{'↓ ' if p in head.forget_parts else '● ' if p in near else ''}{shown(p, 44)}" for p in parts]
    changes = [[_change(row, base, head.name, part) for row in rows] for part in parts]
    largest = max((abs(change) for line in changes for change in line if change is not None), default=0) or 1
    figures = [["" if change is None else f"{change:+.2f}" for change in line] for line in changes]
    trace = go.Heatmap(
        z=changes,
        x=[shown(row.variant, 24) for row in rows],
        y=labels,
        zmid=0,
        zmin=-largest,
        zmax=largest,
        xgap=1,
        ygap=1,
        text=figures,
        texttemplate="%{text}" if len(rows) <= LABELLED else None,
        hovertemplate="%{y}<br>%{x}<br>%{text}<extra></extra>",
        colorbar={"thickness": 12, "tickformat": "+.2~f"},
    )
    return as_chart(
        [trace],
        height=130 + 20 * len(parts),
        xaxis={"side": "top", "type": "category"},
        yaxis={"autorange": "reversed", "type": "category"},
        margin={"l": 10, "r": 10, "t": 60, "b": 20},  # room for plotly's buttons above the names
        alt=_heat_alt(head, rows, parts, changes),
    )


def _change(row: Row, base: Row, benchmark: str, part: str) -> float | None:
    of_row, other = row.scores[benchmark].parts.get(part), base.scores[benchmark].parts.get(part)
    if of_row is None or other is None or of_row.value is None or other.value is None:
        return None
    return round(of_row.value - other.value, 6)


def _heat_alt(head: ManifestBenchmark, rows: Sequence[Row], parts: Sequence[str], changes: list[list[float | None]]) -> str:
    worst: list[str] = []
    for column, row in enumerate(rows):
        changed = [(line[column], part) for line, part in zip(changes, parts, strict=True) if line[column] is not None]
        if changed:
            change, part = min(changed)  # pyright: ignore[reportArgumentType]
            worst.append(f"{row.variant} {change:+.2f} on {part}")
    return f"Change of {head.name} against the base by part. Largest loss of each row: " + "; ".join(worst) + "."


def letters(finished: Finished, head: ManifestBenchmark, items: Mapping[str, Outcomes]) -> Chart | None:
    """Draw the share of answers with each option, beside the share of right answers."""
    import plotly.graph_objects as go

    shares: dict[str, list[float]] = {}
    for row in finished.rows:
        of_row = [items[name] for seed in row.seeds if (name := cell_name(row, head.name, seed)) in items]
        if not of_row or (of_row[0].choices < 0).all():
            continue
        shares.setdefault("right answers", _shares([of_row[0].answers]))
        shares[row_title(row.variant)] = _shares([outcomes.choices for outcomes in of_row])
    if len(shares) < 2:
        return None
    count = max(len(option_shares) for option_shares in shares.values())
    names = [shown(name, 28) for name in shares]
    traces = [
        go.Bar(
            orientation="h",
            name=LETTERS[option] if option < len(LETTERS) else str(option),
            x=[round(option_shares[option], 4) if option < len(option_shares) else 0 for option_shares in shares.values()],
            y=names,
            marker={"color": PALETTE[option % len(PALETTE)]},
            hovertemplate="%{y}: %{x:.1%}",
        )
        for option in range(min(count, len(LETTERS)))
    ]
    sentences = [
        f"{name} {', '.join(f'{LETTERS[i]} {share:.0%}' for i, share in enumerate(option_shares))}"
        for name, option_shares in shares.items()
    ]
    return as_chart(
        traces,
        height=90 + 26 * len(shares),
        barmode="stack",
        title=shown(head.name),
        xaxis={"tickformat": ".0%", "range": [0, 1]},
        yaxis={"autorange": "reversed", "type": "category"},
        legend={"traceorder": "normal"},
        margin={"l": 10, "r": 10, "t": 36, "b": 30},
        alt=f"Answers to {head.name} by option. " + "; ".join(sentences) + ".",
    )


def _shares(choices: Sequence[Any]) -> list[float]:
    """Return the share of each option, mean over seeds; nothing chosen counts nowhere."""
    chosen = np.concatenate([of_seed[of_seed >= 0] for of_seed in choices])
    counts = np.bincount(chosen.astype(np.int64))
    return [float(count) / max(len(chosen), 1) for count in counts]
