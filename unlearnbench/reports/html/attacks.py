"""The report's charts on attacks: what each brings back of each row, and the curves along them."""

from __future__ import annotations

from unlearnbench.records.leaderboard import AttackResult, Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE, ManifestAttack
from unlearnbench.reports.attacks import clipped
from unlearnbench.reports.formatting import MISSING, figure, row_title, span
from unlearnbench.reports.html.charts import GREY, LABELLED, PALETTE, SYMBOLS, Chart, as_chart, shown

ACCESS = ("prompt", "activations", "weights")  # in the order of what they ask of an attacker


def of(board: Leaderboard) -> dict[str, Chart | None]:
    """Return the charts by their keys; none where the comparison has no attacks."""
    if not board.attacks:
        return {}
    charts: dict[str, Chart | None] = {"attacks-heat": heat_map(board), "attacks-plane": plane(board)}
    for number, attack in enumerate(board.attacks):
        charts[f"attacks-curve-{number}"] = curve(board, attack)
    return charts


def captions(board: Leaderboard) -> dict[str, str]:
    """Return the caption of each chart."""
    return {
        "attacks-heat": "R: the share of what seemed gone that came back, cut to 0 and 1; a gap where nothing may be said.",
        "attacks-plane": "F before the worst attack, without what lies beyond the ideal, and F' under it: what lies below the "
        "diagonal was hidden.",
        **{
            f"attacks-curve-{number}": f"Best score so far as each {attack.axis} has it, on the half of the questions that "
            "chooses; the table has the other half."
            for number, attack in enumerate(board.attacks or ())
        },
    }


def heat_map(board: Leaderboard) -> Chart | None:
    """Draw R of every row under every attack."""
    import plotly.graph_objects as go

    attacks = sorted(board.attacks or (), key=lambda attack: ACCESS.index(attack.access) if attack.access in ACCESS else 0)
    rows = [row for row in board.rows if any(_figures(row, attack.label) for attack in attacks)]
    if not rows or not attacks:
        return None
    found = [[_recovered(row, attack) for attack in attacks] for row in rows]
    values = [[None if estimate is None else estimate.value for estimate in line] for line in found]
    texts = [[figure(value, digits=2) if value is not None else "" for value in line] for line in values]
    hover = [
        [_hover(row, attack, estimate) for attack, estimate in zip(attacks, line, strict=True)]
        for row, line in zip(rows, found, strict=True)
    ]
    trace = go.Heatmap(
        z=values,
        x=[f"{shown(attack.label, 24)}<br>{attack.access}" for attack in attacks],
        y=[shown(row_title(row.variant), 30) for row in rows],
        zmin=0,
        zmax=1,
        zmid=0.5,
        reversescale=True,  # the theme's blue is for what is well, and all that came back is not
        text=texts if len(rows) <= LABELLED * 3 else None,
        texttemplate="%{text}",
        hovertext=hover,
        hoverinfo="text",
        colorbar={"title": {"text": "R"}},
    )
    least = min((value for line in values for value in line if value is not None), default=0.0)
    most = max((value for line in values for value in line if value is not None), default=0.0)
    return as_chart(
        [trace],
        height=140 + 28 * len(rows),
        yaxis={"autorange": "reversed"},
        margin={"l": 10, "r": 10, "t": 20, "b": 40},
        alt=f"R of {len(rows)} rows under {len(attacks)} attacks, from {figure(least)} to {figure(most)}.",
    )


def plane(board: Leaderboard) -> Chart | None:
    """Draw every row at F before its worst attack and F' under it."""
    import plotly.graph_objects as go

    points: list[tuple[Row, str, float, float]] = []
    for row in board.rows:
        for label, result in (row.attacks or {}).items():
            gone = result.worst.gone if result.worst else None
            if result.left_before is not None and result.left_before.value is not None and gone and gone.value is not None:
                points.append((row, label, 1 - min(max(result.left_before.value, 0.0), 1.0), gone.value))
    if not points:
        return None
    line = {"color": GREY, "dash": "dot", "width": 1.2}
    traces = [go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False)]
    for number, (row, label, before, after) in enumerate(points):
        name = shown(row_title(row.variant), 30)
        traces.append(
            go.Scatter(
                x=[round(before, 4)],
                y=[round(after, 4)],
                mode="markers",
                name=name,
                marker={"color": PALETTE[number % len(PALETTE)], "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 11},
                hovertext=[f"{name}<br>F {figure(before)} before, {figure(after)} under {shown(label)}"],
                hoverinfo="text",
                meta={"row": row.variant},
            )
        )
    return as_chart(
        traces,
        height=460,
        xaxis={"title": {"text": "F before the attack →"}, "range": [-0.04, 1.06]},
        yaxis={"title": {"text": "F' under the worst attack →"}, "range": [-0.04, 1.06]},
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        hovermode="closest",
        alt="; ".join(f"{row.variant}: F {figure(x)}, under {label} {figure(y)}" for row, label, x, y in points[:8]) + ".",
    )


def curve(board: Leaderboard, attack: ManifestAttack) -> Chart | None:
    """Draw the score along an attack for every row, base and reference among them; None where nothing is counted along it."""
    import plotly.graph_objects as go

    lines = [(row, result.curve) for row in board.rows if (result := (row.attacks or {}).get(attack.label)) and result.curve]
    if not attack.axis or not lines:
        return None
    traces: list[go.Scatter] = []
    for number, (row, points) in enumerate(lines):
        fixed = row.variant == BASELINE or row.variant in board.reference
        style = {"color": GREY if fixed else PALETTE[number % len(PALETTE)], "width": 1.6}
        style["dash"] = "dash" if row.variant in board.reference else "solid"
        before = (row.attacks or {})[attack.label].before
        steps = {0: before, **points} if before is not None and 0 not in points else points
        traces.append(
            go.Scatter(
                x=list(steps),
                y=list(steps.values()),
                mode="lines+markers",
                line=style,
                name=shown(row_title(row.variant), 30),
                meta={"row": row.variant},
            )
        )
    ends = [f"{row.variant} to {figure(max(points.values()))}" for row, points in lines[:8]]
    return as_chart(
        traces,
        height=360,
        title=shown(attack.label),
        xaxis={"title": {"text": attack.axis}},
        yaxis={"title": {"text": "score on what was to be forgotten"}, "range": [0, 1.04]},
        margin={"l": 60, "r": 20, "t": 36, "b": 60},
        alt=f"{attack.label}: {'; '.join(ends)}.",
    )


def _figures(row: Row, label: str) -> AttackResult | None:
    result = (row.attacks or {}).get(label)
    return result if result is not None and result.left is not None else None


def _recovered(row: Row, attack: ManifestAttack) -> Estimate | None:
    result = _figures(row, attack.label)
    return clipped(result.recovered) if result else None


def _hover(row: Row, attack: ManifestAttack, estimate: Estimate | None) -> str:
    result = (row.attacks or {}).get(attack.label)
    left = clipped(result.left) if result else None
    lines = [f"{shown(row.variant)} under {shown(attack.label)}", f"R {_with_span(estimate)}", f"LA {_with_span(left)}"]
    return "<br>".join([*lines, *(shown(note, 120) for note in (result.notes if result else ()))])


def _with_span(estimate: Estimate | None) -> str:
    spread = span(estimate)
    value = figure(estimate.value) if estimate else MISSING
    return f"{value} ({spread})" if spread else value
