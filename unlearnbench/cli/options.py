"""Readers of the command line's lists, numbers and choices."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ByteSize, TypeAdapter, ValidationError

from unlearnbench.errors import Problems, UsageError, unknown_name
from unlearnbench.planning.limits import Limits
from unlearnbench.verbs.recipes import split_list

if TYPE_CHECKING:
    from unlearnbench.reports.upload import Kind, Repository
    from unlearnbench.tuning.search import Budget

Model = Annotated[str | None, typer.Option(help="Base model: a folder, a hub id or sandbox:model.")]
Benchmarks = Annotated[str | None, typer.Option(help="Benchmarks, separated by commas: wmdp,mmlu.")]
Limit = Annotated[str | None, typer.Option(metavar="N", help="Score only the first N items of each part.")]
Forget = Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to forget; repeatable.")]
Retain = Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to keep; repeatable.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME.OPTION=VALUE", help="An option of a row or benchmark.")
]
Judge = Annotated[str | None, typer.Option(help="Judge that rates mt_bench: rules, openai:MODEL or hf:MODEL.")]
JudgeUrl = Annotated[str | None, typer.Option(help="Base address of mt_bench's judge, OpenAI-compatible.")]
JudgePrompts = Annotated[str | None, typer.Option(metavar="FILE", help="Prompts of mt_bench's judge, in FastChat's format.")]
JudgeRepeats = Annotated[int | None, typer.Option(help="Number of ratings of each answer by mt_bench's judge.")]
Attacks = Annotated[
    str | None,
    typer.Option(help="Attacks on every row, separated by commas: quantize:4,relearn; or quick or standard, groups of them."),
]
References = Annotated[str | None, typer.Option(metavar="FILE", help="Reference answers that replace mt_bench's.")]
COVERAGE = 0.95
MinCoverage = Annotated[float, typer.Option(help="Exit with 1 where a smaller share of a benchmark's items has a score.")]
DeviceName = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
DtypeName = Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the comparison; the same folder continues it.")]
Cache = Annotated[Path | None, typer.Option(help="Folder for scores that other comparisons may use again.")]
JobTimeout = Annotated[float | None, typer.Option(metavar="SECONDS", help="Longest wall-clock time of an isolated job.")]
JobMemory = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Resident memory that an isolated job may hold, as in 8GB or 512MiB.")
]
Trials = Annotated[int | None, typer.Option(min=1, metavar="N", help="Trials of every method's settings.")]
TuneSeconds = Annotated[
    float | None,
    typer.Option(
        "--tune-seconds",
        metavar="S",
        help="Budget of each method in seconds of unlearning and scoring, instead of trials or beside them.",
    ),
]
ProbeEvery = Annotated[
    int | None, typer.Option(min=1, metavar="K", help="Score trials every K updates, and stop hopeless ones.")
]
KeepAtLeast = Annotated[float | None, typer.Option(metavar="K", help="K that a chosen trial must keep; .95 by default.")]
CHANCE = "chance"
RankBy = Annotated[
    str | None, typer.Option(help="Column that ranks go by: score (S, the default), forget (F), keep (K) or a benchmark's.")
]
DamageMargin = Annotated[
    float | None, typer.Option(help="Share of the retain knowledge that a `forgot` row may lose; 0.05 by default.")
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Row that never knew the topics, whose score is the ideal of forgetting; repeatable. `chance` for chance.",
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Compute failed cells again.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan with estimates, and stop; nothing is written.")
]
NoItems = Annotated[
    bool,
    typer.Option("--no-items", help="Keep no questions, and show no questions or answers in the report; for hazardous data."),
]
Private = Annotated[bool, typer.Option("--private", help="Make the repository of --push-to-hub private.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print leaderboard.json on stdout, and nothing else.")]


def read_budget(trials: int | None, seconds: float | None) -> Budget | None:
    """Return `--trials` and `--tune-seconds` as every row's budget; None where neither is given."""
    if trials is None and seconds is None:
        return None
    from unlearnbench.tuning.search import Budget

    return Budget(trials=trials, seconds=seconds)


def repository(name: str | None, kind: Kind, *, private: bool) -> Repository | None:
    """Return the repository that `--push-to-hub` names, checked without asking the hub; None where it is not given."""
    if name is None:
        if private:
            raise UsageError("--private is for the repository that --push-to-hub makes: add --push-to-hub OWNER/NAME.")
        return None
    from unlearnbench.reports.upload import find_repository

    return find_repository(name, kind, private=private)


@contextmanager
def quiet_stdout() -> Generator[None]:
    """Send standard output to standard error meanwhile, that of libraries past Python's own stream, too."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def command_line() -> str:
    """Return the command as it was typed, in a shell's quoting."""
    return shlex.join(["unlearnbench", *sys.argv[1:]])


def check_runs(folders: Iterable[Path]) -> None:
    """Refuse folders that do not exist.

    Raises:
        UsageError: with the name of the first.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; `unlearnbench compare` makes one, by default under runs/.")


def rows_of_reference(reference: list[str] | None) -> list[str] | None:
    """Return the rows of the reference; none where chance is the ideal, None where the option is not given.

    Raises:
        UsageError: rows and chance at once.
    """
    if not reference or reference == [CHANCE]:
        return [] if reference else None
    if CHANCE in reference:
        raise UsageError(f"--reference takes rows or `chance`, not both; got {', '.join(reference)}.")
    return reference


def with_judge(settings: list[str] | None, benchmarks: Mapping[str, Mapping[str, Any]], **given: str | int | None) -> list[str]:
    """Return `--judge-url` and the like as the settings that they stand for, of every benchmark that has such an option.

    Raises:
        UsageError: none has.
    """
    wanted = {option: value for option, value in given.items() if value is not None}
    taken = {name: _option_names(name, given_options) for name, given_options in benchmarks.items()} if wanted else {}
    added: list[str] = []
    for option, value in wanted.items():
        names = [name for name, options in taken.items() if option in options]
        if not names:
            raise UsageError(
                f"--{option.replace('_', '-')} sets the option {option} of the benchmarks that have it, and of "
                f"{', '.join(benchmarks) or 'none'} none does; `unlearnbench plugins NAME` lists a benchmark's options."
            )
        added += [f"{name}.{option}={value}" for name in names]
    return [*(settings or ()), *added]


def _option_names(name: str, given: Mapping[str, Any]) -> set[str]:
    """Return the options of a recipe's benchmark; none where it cannot be loaded, which its preflight says."""
    from unlearnbench.planning.columns import plugin_of
    from unlearnbench.plugins.options import list_options
    from unlearnbench.plugins.registry import find_plugin

    try:
        return {option.name for option in list_options(find_plugin("benchmark", plugin_of(name, given)).spec)}
    except UsageError:
        return set()


def check_coverage(value: float) -> float:
    """Check `--min-coverage`, a share in [0, 1]."""
    if not 0 <= value <= 1:
        raise UsageError(f"--min-coverage takes a share from 0 to 1, as in 0.95; got {value:g}.")
    return value


def read_dtype(text: str | None) -> str | None:
    """Read `--dtype`; None stays None."""
    return None if text is None else choose("--dtype", text, ("auto", "float32", "bfloat16", "float16"))


def read_limit(text: str | None) -> int | None:
    """Read `--limit` as a number of items; None stays None."""
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--limit takes a whole number of at least 1; got '{text}'.")
    return int(text)


def read_whole(flag: str, text: str, *, most: int) -> int:
    """Read a whole number from 0 to `most`."""
    if not text.isdecimal() or int(text) > most:
        raise UsageError(f"{flag} takes a whole number from 0 to {most}; got '{text}'.")
    return int(text)


def read_limits(jobs: int, seconds: float | None, memory: str | None) -> Limits:
    """Read `--jobs`, `--job-timeout` and `--job-memory` as the limits of isolated jobs."""
    problems = Problems()
    problems.attempt(Limits, jobs=jobs, seconds=seconds)
    try:
        held = None if memory is None else int(TypeAdapter(ByteSize).validate_python(memory))
    except ValidationError:
        held = 0
    if held is not None and held <= 0:
        problems.add(UsageError(f"--job-memory takes a size above 0 with its unit, as in 8GB or 512MiB; got '{memory}'."))
    problems.settle()
    return Limits(jobs=jobs, seconds=seconds, bytes=held)


def split_seeds(text: str | None) -> list[int] | None:
    """Read `0,1` as numbers."""
    if text is None:
        return None
    names = split_list("--seeds", text)
    for name in names:
        if not name.isdecimal() or int(name) >= 2**32:
            raise UsageError(f"--seeds takes whole numbers from 0 to 4294967295 separated by commas, as in 0,1; got '{name}'.")
    return list(dict.fromkeys(int(name) for name in names))


def split_named(flag: str, texts: Iterable[str] | None, form: str = "NAME=PATH") -> dict[str, str]:
    """Read `NAME=VALUE` arguments as a dictionary."""
    named: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"{flag} takes {form}; got '{text}'.")
        named[name] = value
    return named


def choose(flag: str, value: str, allowed: Sequence[str]) -> str:
    """Return the value if it is one of the allowed words."""
    if value not in allowed:
        raise unknown_name(f"value of {flag}", value, allowed)
    return value
