"""The command line. Each command has a file; no other module prints or sets exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import typer

from unlearnbench import __version__
from unlearnbench.cli import (
    answers,
    attack,
    card,
    check,
    compare,
    diff,
    evaluate,
    export,
    leaderboard,
    new,
    plugins,
    recipe,
    report,
    retrain,
    sandbox,
    show,
    site,
    tune,
    verify,
)
from unlearnbench.errors import UnlearnbenchError, UsageError
from unlearnbench.system import stop_signals

app = typer.Typer(
    name="unlearnbench",
    help="Compare unlearning methods for language models: forget, score, rank.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("answers")(answers.answers)
app.command("attack")(attack.attack)
app.command("card")(card.card)
app.command("check")(check.check)
app.command("compare")(compare.compare)
app.command("diff")(diff.diff)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("plugins")(plugins.plugins)
app.command("report")(report.report)
app.command("retrain")(retrain.retrain)
app.command("show")(show.show)
app.command("site")(site.site)
app.command("tune")(tune.tune)
app.command("verify")(verify.verify)
app.add_typer(new.app, name="new")
app.add_typer(recipe.app, name="recipe")
app.add_typer(sandbox.app, name="sandbox")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unlearnbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
) -> None:
    """Read the options that stand before a command."""


# what the argument parser raises: typer's own copy of click, or click itself in older versions
ParserError: type[Exception] = typer.BadParameter.__base__  # pyright: ignore[reportAssignmentType]


def main() -> None:
    """Run the command line; a user's mistake becomes one sentence and exit code 2, a request to stop 128 and its signal."""
    try:
        with stop_signals.heeded():
            sys.exit(app(prog_name="unlearnbench", standalone_mode=False) or 0)
    except ParserError as error:
        if sentence := _sentence(error):
            typer.echo(sentence, err=True)
        sys.exit(UsageError.exit_code)
    except UnlearnbenchError as error:
        typer.echo(f"unlearnbench: {error}", err=True)
        sys.exit(error.exit_code)
    except stop_signals.StopRequested as stop:
        _say_at_the_end(str(stop))
        sys.exit(stop.exit_code)


def _say_at_the_end(sentence: str) -> None:
    """Print it, or nothing where the terminal is gone: a failed write of Python's would change the exit code."""
    try:
        typer.echo(sentence, err=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere, stream.fileno())


def _sentence(error: Any) -> str:
    """Return the mistake in the command line and the help that explains it; empty where the help is shown anyway."""
    message = str(error.format_message())
    if type(error).__name__ == "NoArgsIsHelpError":
        return message
    message += "" if message.endswith((".", "?")) else "."
    command = error.ctx.command_path if error.ctx else "unlearnbench"
    return f"unlearnbench: {message} `{command} --help` lists what it takes."
