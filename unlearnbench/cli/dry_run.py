"""`--dry-run`: the plan of a comparison, and the time and memory that it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnbench.reports.units import amount, counted, duration, size

if TYPE_CHECKING:
    from unlearnbench.execution.place import Execution
    from unlearnbench.planning.comparison import Comparison
    from unlearnbench.planning.durations import Durations
    from unlearnbench.planning.estimates import JobEstimate

COLUMNS = (
    "job",
    "finished",
    "to do",
    "updates",
    "tokens",
    "trains",
    "questions",
    "writes",
    "judge",
    "memory",
    "delta",
    "time",
)


def show_plan(comparison: Comparison, how: Execution, durations: Durations, as_json: bool) -> None:
    """Print the plan on stdout."""
    jobs = comparison.estimates(durations)
    totals = _totals(comparison, jobs, how)
    if as_json:
        typer.echo(json.dumps({"jobs": [job.as_dict() for job in jobs], "total": totals}, indent=1))
        return
    console = Console(highlight=False)
    recipe = comparison.recipe
    console.print(
        f"{recipe.name}: {recipe.model} in {comparison.dtype} on {totals['device']}, into {comparison.run.root}",
        markup=False,
        soft_wrap=True,
    )
    table = Table(header_style="bold")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("job", "finished", "to do") else "right", overflow="fold")
    for cells in _rows(jobs):
        table.add_row(*map(Text, cells))
    Console(highlight=False, width=None if console.is_terminal else 160).print(table)
    for line in _sentences(totals, durations):
        console.print(line, markup=False, soft_wrap=True)


def _rows(jobs: Sequence[JobEstimate]) -> Iterator[list[str]]:
    """Yield a line of the table for each row, or for those of its seeds that have the same left to do."""
    seeds: dict[tuple[str, ...], list[int]] = {}
    for job in jobs:
        seeds.setdefault((job.variant, *_cells(job)), []).append(job.seed)
    for (variant, *cells), alike in seeds.items():
        yield [f"{variant}, seed{'s' if len(alike) > 1 else ''} {_listed(alike)}", *cells]


def _listed(seeds: Sequence[int]) -> str:
    """Return seeds as people write them: `0, 1`, or `0 to 4` where they follow one another."""
    first, last = seeds[0], seeds[-1]
    return f"{first} to {last}" if len(seeds) > 2 and [*seeds] == [*range(first, last + 1)] else ", ".join(map(str, seeds))


def _cells(job: JobEstimate) -> list[str]:
    """Return a job's cells of the table, after its name."""
    return [
        ", ".join([*job.finished, *(f"{name} failed" for name in job.failed)]) or "-",
        ", ".join(job.due) or "-",
        amount(job.updates),
        amount(job.tokens),
        amount(job.trained),
        amount(job.items),
        amount(job.generated),
        amount(job.judge_requests),
        size(job.memory_bytes),
        size(job.delta_bytes),
        _time(job.unlearn_seconds, job.evaluate_seconds) if job.due else "-",
    ]


def _time(*seconds: float | None) -> str:
    """Return the sum as people say it; `?` where a part of it is not known."""
    known = [value for value in seconds if value is not None]
    return duration(sum(known)) if len(known) == len(seconds) else "?"


def _totals(comparison: Comparison, jobs: Sequence[JobEstimate], how: Execution) -> dict[str, Any]:
    """Return the sums over all jobs; memory is that of the largest, of as many as run at a time."""
    from unlearnbench.planning.checks import device_type, free_memory, room_for

    device = device_type(comparison.device)
    deltas = [job.delta_bytes for job in jobs]
    return {
        "jobs": sum(bool(job.due) for job in jobs),
        "cells": sum(len(job.due) for job in jobs),
        "finished": sum(len(job.finished) for job in jobs),
        "failed": sum(len(job.failed) for job in jobs),
        "updates": sum(job.updates for job in jobs),
        "tokens": sum(job.tokens for job in jobs),
        "items": sum(job.items for job in jobs),
        "generated": sum(job.generated for job in jobs),
        "judge_requests": sum(job.judge_requests for job in jobs),
        "judge_tokens": sum(job.judge_tokens for job in jobs),
        "judge_reply_tokens": sum(job.judge_reply_tokens for job in jobs),
        "memory_bytes": sum(nlargest(how.limits.jobs, (job.memory_bytes or 0 for job in jobs))),
        "free_memory_bytes": free_memory(device)[0],
        "disk_bytes": room_for(deltas, how.keep_deltas, how.limits),
        "free_disk_bytes": comparison.run.free_bytes(),
        "device": device,
        "unlearn_seconds": _sum([job.unlearn_seconds for job in jobs]),
        "evaluate_seconds": _sum([job.evaluate_seconds for job in jobs]),
    }


def _sum(seconds: Sequence[float | None]) -> float | None:
    """Return the sum; None where one is not known."""
    known = [value for value in seconds if value is not None]
    return round(sum(known), 1) if len(known) == len(seconds) else None


def _of_judge(totals: dict[str, Any]) -> str:
    """Return the judge's tokens, apart, since a hosted judge's reply costs several times as much as its request."""
    if not totals["judge_tokens"]:
        return "."
    replies = totals["judge_reply_tokens"]
    return f", about {totals['judge_tokens'] - replies:,} tokens to send and {replies:,} in its replies."


def _of_time(totals: dict[str, Any], durations: Durations) -> str:
    """Return the sentence on the time: its length or that it is unknown, and the source of the estimate."""
    parts = {"to unlearn": totals["unlearn_seconds"], "to score": totals["evaluate_seconds"]}
    sentence = ", ".join(
        f"{'an unknown time' if time is None else f'about {duration(time)}'} {what}" for what, time in parts.items()
    )
    names = [
        f"{name} for {durations.stand_for[name]} rows like it" if name in durations.stand_for else name
        for name in durations.timed
    ]
    timed = f"; timed for a moment just now: {', '.join(names)}" if names else ""
    return f"One job after the other it takes {sentence}{timed}."


def _sentences(totals: dict[str, Any], durations: Durations) -> list[str]:
    of_memory = f"about {size(totals['memory_bytes'])}" if totals["memory_bytes"] else "nothing"
    of_disk = f"at most {size(totals['disk_bytes'])}" if totals["disk_bytes"] else "nothing"
    return [
        f"{counted(totals['jobs'], 'job')} with {counted(totals['cells'], 'cell')} to compute; {totals['finished']} finished"
        + (f", {totals['failed']} failed (--retry-failed computes them again)." if totals["failed"] else "."),
        (f"{counted(totals['updates'], 'update')} on at most {amount(totals['tokens'])} tokens; " if totals["updates"] else "")
        + f"{counted(totals['items'], 'question')}, at most {totals['generated']:,} tokens to write, "
        f"{totals['judge_requests']:,} requests to a judge" + _of_judge(totals),
        f"Memory {of_memory} of {size(totals['free_memory_bytes'])} free; "
        f"deltas take {of_disk} of {size(totals['free_disk_bytes'])} free on the disk.",
        *([_of_time(totals, durations)] if totals["cells"] else []),
        "Nothing was written.",
    ]
