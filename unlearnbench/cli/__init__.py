"""The command line. Each command has a file; only here are things printed and exit codes set."""

from __future__ import annotations

import sys

import typer

from unlearnbench import __version__
from unlearnbench.cli import compare, evaluate, export, leaderboard, plugins, sandbox
from unlearnbench.errors import UnlearnbenchError

INTERRUPTED = 130
app = typer.Typer(
    name="unlearnbench",
    help="Compare unlearning methods for language models: forget, score, rank.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("plugins")(plugins.plugins)
app.add_typer(sandbox.app, name="sandbox")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unlearnbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and leave.", callback=_show_version, is_eager=True),
) -> None:
    """Options that stand before a command."""


def main() -> None:
    """Run the command line; a user's mistake becomes one sentence and exit code 2."""
    try:
        app()
    except UnlearnbenchError as error:
        typer.echo(f"unlearnbench: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
