"""`unlearnbench verify`: check that a comparison's files are consistent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options

DOES_NOT_ADD_UP = 1


def verify(runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of comparisons.")]) -> None:
    """Recompute the table from the per-item results and check hashes and schema; name everything that does not add up.

    Exit code 1 where anything does not. Nothing in the folder is changed.
    """
    from unlearnbench.leaderboard.verify import verify as check
    from unlearnbench.reports.formatting import printable

    options.check_runs(runs)
    failed = False
    for run in runs:
        problems = list(check(run))
        failed = failed or bool(problems)
        for problem in problems:
            typer.echo(printable(f"{run}: {problem}"))
        if not problems:
            typer.echo(f"{run}: the table follows from the per-item results; hashes and schema are sound.")
    if failed:
        raise typer.Exit(DOES_NOT_ADD_UP)
