"""The files that a comparison writes for its readers: leaderboard.json, leaderboard.md and report.html."""

from __future__ import annotations

from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.reports.finished import read_finished
from unlearnbench.runs.folder import RunFolder

REPORT = "report.html"


def write_leaderboard(run: RunFolder, settings: TableSettings | None = None, *, in_passing: bool = False) -> Leaderboard:
    """Write leaderboard.json and leaderboard.md from what is on disk; see `read_leaderboard`."""
    return write_table(run, read_leaderboard(run.root, settings, in_passing=in_passing))


def write_table(run: RunFolder, board: Leaderboard) -> Leaderboard:
    """Write a table as leaderboard.json and leaderboard.md, and return it."""
    from unlearnbench.reports import text

    run.write_text("leaderboard.json", board.model_dump_json(indent=1, by_alias=True) + "\n")
    run.write_text("leaderboard.md", text.render([board], "markdown") + "\n")
    return board


def write_report(run: RunFolder, settings: TableSettings | None = None, *, items: bool = True) -> Leaderboard:
    """Write the table and report.html, made of it, from what is on disk; `items` decides whether questions and answers show."""
    from unlearnbench.reports.html.page import render

    finished, outcomes = read_finished(run.root, settings, items=items)
    board = write_table(run, finished.board)
    run.write_text(REPORT, render(finished, outcomes))
    return board
