"""Every trial of a search, in a terminal or as markdown."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from unlearnbench.records.tuning import RowTrials, Trial, Tuning
from unlearnbench.reports.formatting import figure

HEAD = ("trial", "settings", "F ↑", "K ↑", "S ↑", "seconds", "")
CHOSEN = "chosen"


def render(tuning: Tuning) -> RenderableType:
    """Return a rich table with its notes."""
    table = Table(header_style="bold")
    for name in HEAD:
        words = name in ("trial", "settings", "")
        table.add_column(Text(name), justify="left" if words else "right", no_wrap=name == "trial", overflow="fold")
    for row in tuning.rows:
        for trial in row.trials:
            table.add_row(*map(Text, _line(row, trial)), style="bold" if trial.number == row.chosen else None)
        table.add_section()
    return Group(table, *(Text(line, style="dim") for line in notes(tuning)))


def markdown(tuning: Tuning) -> str:
    """Return a table with its notes, in markdown."""
    lines = [
        [cell.replace("|", "\\|").replace("<", "&lt;") for cell in _line(row, trial)]
        for row in tuning.rows
        for trial in row.trials
    ]
    table = tabulate(lines, headers=[*HEAD], tablefmt="pipe", disable_numparse=True)
    return "\n".join([table, "", *(f"> {line}" for line in notes(tuning))])


def html(tuning: Tuning) -> str:
    """Return a table with its notes, as HTML."""
    rows = [[escape(cell) for cell in line] for line, _ in lines(tuning)]
    table = tabulate(rows, headers=[*HEAD], tablefmt="unsafehtml", disable_numparse=True)  # escaped above, quotes too
    return "\n".join([table, *(f"<p>{escape(line)}</p>" for line in notes(tuning))])


def lines(tuning: Tuning) -> list[tuple[list[str], bool]]:
    """Return every trial as the cells below `HEAD`, and whether it was chosen."""
    return [(_line(row, trial), trial.number == row.chosen) for row in tuning.rows for trial in row.trials]


def notes(tuning: Tuning) -> list[str]:
    """Return the notes for a reader: the rule, the half, and the rows that were not tuned."""
    items = ", ".join(f"{sum(parts.values())} of {name}" for name, parts in tuning.split.items())
    lines = [
        f"F, K and S on the half of the questions that chooses ({items}). Chosen: the highest F of the trials whose K is at "
        f"least {figure(tuning.keep_at_least, digits=2)}; where there is none, the highest S. Each row's first trial has the "
        "method's default settings, as far as the space has them."
    ]
    return lines + [f"{row.row}: {row.label}." for row in tuning.rows if not row.met]


def in_words(settings: dict[str, Any]) -> str:
    """Return settings as people read them: `lr 3e-05, layer 4`."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items())


def _line(row: RowTrials, trial: Trial) -> list[str]:
    remark = CHOSEN if trial.number == row.chosen else "" if trial.status == "done" else f"{trial.status}: {trial.error}"
    shares = [figure(share) for share in (trial.forget, trial.keep, trial.score)]
    return [f"{row.row} {trial.number}", in_words(trial.settings), *shares, f"{trial.seconds:.1f}", remark]
