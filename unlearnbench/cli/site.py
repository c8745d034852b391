"""`unlearnbench site`: a static leaderboard site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options


def site(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of comparisons.")],
    out: Annotated[Path, typer.Option(help="Folder of the site; one that is there is brought up to date.")],
    title: Annotated[str, typer.Option(help="Title of the site.")] = "Unlearning leaderboards",
    no_items: options.NoItems = False,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload the site to this space on the hub, which shows it.")
    ] = None,
    private: options.Private = False,
) -> None:
    """Build a site that any static host serves: an index over recipes, a page for each run, a JSON feed.

    The same runs into the same folder write the same addresses; pages of runs that are not named any more stay.
    """
    from unlearnbench.reports.site import build_site

    repository = options.repository(push_to_hub, "space", private=private)
    options.check_runs(runs)
    pages = build_site(runs, out, title=title, items=not no_items, repository=repository)
    typer.echo(f"{len(pages)} run{'s' if len(pages) > 1 else ''} in {out / 'index.html'}.", err=True)
    if repository is not None:
        typer.echo(f"Uploaded to {repository.upload(out)}.", err=True)
