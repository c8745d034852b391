"""`unlearnbench site`: a static leaderboard site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options


def site(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of comparisons.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the site.")],
    title: Annotated[str, typer.Option(help="What the site is called.")] = "Unlearning leaderboards",
    no_items: options.NoItems = False,
) -> None:
    """Build a site that any static host serves: an index over recipes, a page for each run, a JSON feed.

    The same runs into the same folder write the same addresses; pages of runs that are not named any more stay.
    """
    from unlearnbench.reports.site import build_site

    options.check_runs(runs)
    pages = build_site(runs, out, title=title, items=not no_items)
    typer.echo(f"{len(pages)} run{'s' if len(pages) > 1 else ''} in {out / 'index.html'}.", err=True)
