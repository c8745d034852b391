"""`--dry-run`: what a comparison would do and what it would take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnbench.reports.units import amount, counted, size

if TYPE_CHECKING:
    from unlearnbench.execution.place import Execution
    from unlearnbench.planning.comparison import Comparison
    from unlearnbench.planning.estimates import JobEstimate

COLUMNS = ("job", "finished", "to do", "updates", "tokens", "trains", "questions", "writes", "judge", "memory", "delta")


def show_plan(comparison: Comparison, how: Execution, as_json: bool) -> None:
    """Print the plan on stdout."""
    jobs = comparison.estimates()
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
    for job in jobs:
        table.add_row(*(Text(cell) for cell in _row(job)))
    Console(highlight=False, width=None if console.is_terminal else 160).print(table)
    for line in _sentences(totals):
        console.print(line, markup=False, soft_wrap=True)


def _row(job: JobEstimate) -> list[str]:
    return [
        f"{job.variant}, seed {job.seed}",
        ", ".join(job.finished) or "-",
        ", ".join(job.due) or "-",
        amount(job.updates),
        amount(job.tokens),
        amount(job.trained),
        amount(job.items),
        amount(job.generated),
        amount(job.judge_requests),
        size(job.memory_bytes),
        size(job.delta_bytes),
    ]


def _totals(comparison: Comparison, jobs: Sequence[JobEstimate], how: Execution) -> dict[str, Any]:
    """Over all jobs; memory is that of the largest, of as many as run at a time."""
    from unlearnbench.planning.checks import device_type, free_memory, room_for

    device = device_type(comparison.device)
    deltas = [job.delta_bytes for job in jobs]
    return {
        "jobs": sum(bool(job.due) for job in jobs),
        "cells": sum(len(job.due) for job in jobs),
        "finished": sum(len(job.finished) for job in jobs),
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
    }


def _of_judge(totals: dict[str, Any]) -> str:
    """Tokens apart, since a hosted judge's reply costs several times what is sent to it."""
    if not totals["judge_tokens"]:
        return "."
    replies = totals["judge_reply_tokens"]
    return f", about {totals['judge_tokens'] - replies:,} tokens to send and {replies:,} in its replies."


def _sentences(totals: dict[str, Any]) -> list[str]:
    of_memory = f"about {size(totals['memory_bytes'])}" if totals["memory_bytes"] else "nothing"
    of_disk = f"at most {size(totals['disk_bytes'])}" if totals["disk_bytes"] else "nothing"
    return [
        f"{counted(totals['jobs'], 'job')} with {counted(totals['cells'], 'cell')} to compute; {totals['finished']} finished.",
        (f"{counted(totals['updates'], 'update')} on at most {amount(totals['tokens'])} tokens; " if totals["updates"] else "")
        + f"{counted(totals['items'], 'question')}, at most {totals['generated']:,} tokens to write, "
        f"{totals['judge_requests']:,} requests to a judge" + _of_judge(totals),
        f"Memory {of_memory} of {size(totals['free_memory_bytes'])} free; "
        f"deltas take {of_disk} of {size(totals['free_disk_bytes'])} free on the disk.",
        "Nothing was computed and nothing written.",
    ]
