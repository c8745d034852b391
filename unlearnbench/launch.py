"""Training in several processes: they run `unlearnbench.worker`, never this command line, and only leave weights behind.

Lightning's DDP starts the command that it runs in once more for each further process, and all of them go on after the fit. In
a worker that is harmless: it trains, and the first process stores the delta. Scoring and storing cells stay with the parent.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import CellError

if TYPE_CHECKING:
    from unlearnbench.job import Workshop
    from unlearnbench.plan import JobPlan
    from unlearnbench.recipe import TrainerOptions


def processes(plan: JobPlan, options: TrainerOptions) -> int:
    """How many processes train a job: the recipe's number, or one for a method that must see whole batches."""
    assert plan.variant.plugin is not None
    alone = getattr(plan.variant.plugin.method.factory, "one_process", False)
    return 1 if alone else options.devices


def train_in_processes(plan: JobPlan, shop: Workshop) -> None:
    """Train a job in workers; its delta lies in the run folder afterwards.

    Raises:
        FloatingPointError: the loss or the weights were not finite.
        CellError: whatever else stopped the workers, in their words.
    """
    command = [sys.executable, "-m", "unlearnbench.worker", str(shop.run.root), plan.job.variant, str(plan.job.seed)]
    command += ["--cache", str(shop.cache_folder), "--device", shop.device.type]
    said: dict[str, Any] = {}
    with (
        tempfile.TemporaryFile("w+") as errors,  # a pipe that nobody reads would fill up and stop the worker
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as worker,
    ):
        assert worker.stdout is not None
        for line in worker.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # a method's own print
            if said.get("kind") == "unlearning":
                shop.reporter.unlearning(plan.job, said["steps"])
            elif said.get("kind") == "step":
                shop.reporter.step(plan.job, said["loss"])
        worker.wait()
        errors.seek(0)
        complaints = errors.read()
    if worker.returncode == 0:
        return
    if said.get("kind") == "error":
        raise (FloatingPointError if said["diverged"] else CellError)(said["reason"])
    last = complaints.strip().splitlines()[-1:] or ["no message"]
    raise CellError(f"a training process ended with code {worker.returncode}: {last[0]}")
