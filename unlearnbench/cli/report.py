"""`unlearnbench report`: write report.html again, or to another file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options
from unlearnbench.errors import UsageError


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    out: Annotated[Path | None, typer.Option(help="File to write; by default report.html in the folder.")] = None,
    no_items: options.NoItems = False,
) -> None:
    """Write a comparison's report: one HTML file that opens without a network."""
    from unlearnbench.reports.finished import read_finished
    from unlearnbench.reports.html.page import render
    from unlearnbench.reports.run_files import REPORT
    from unlearnbench.system.files import check_folder, write_atomic

    options.check_runs([run])
    path = out or run / REPORT
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder; name a file in it, as in {path / REPORT}.")
    check_folder(path.parent, "--out")
    finished, outcomes = read_finished(run, items=not no_items)
    write_atomic(path, render(finished, outcomes).encode())
    typer.echo(f"Written to {path}.", err=True)
