"""The messages of a job's process to its parent, one JSON line each: both ends of the pipe."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import CellError, StorageError
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.cells import CellResult, Job

if TYPE_CHECKING:
    from unlearnbench.execution.reporter import Reporter


def decode(line: bytes) -> dict[str, Any] | None:
    """Return a message; None for bytes of a plugin that found the pipe and wrote into it."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and "kind" in message else None


def relay(message: Mapping[str, Any], plan: JobPlan, reporter: Reporter) -> None:
    """Pass a worker's progress on."""
    match message:
        case {"kind": "loading"}:
            reporter.loading(plan.job)
        case {"kind": "unlearning", "steps": steps}:
            reporter.unlearning(plan.job, steps)
        case {"kind": "step", "loss": loss}:
            reporter.step(plan.job, loss)
        case {"kind": "scoring", "benchmark": benchmark, "items": items}:
            reporter.scoring(plan.job, benchmark, items)
        case {"kind": "scored", "items": items}:
            reporter.scored(plan.job, items)
        case {"kind": "warn", "line": line}:
            reporter.warn(line)
        case _:
            pass


def error_of(message: Mapping[str, Any]) -> Exception:
    """Return the error that a worker reported."""
    kinds = {"diverged": FloatingPointError, "storage": StorageError}
    return kinds.get(message["type"], CellError)(message["reason"])


class MessagePipe:
    """A `Reporter` that writes JSON lines to the parent."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe
        self._turn = threading.Lock()  # a benchmark may report from several threads
        if pipe is not None:
            os.set_inheritable(pipe, False)  # what plugins start cannot write to it

    def say(self, kind: str, **facts: Any) -> None:
        """Write one message, from whatever thread."""
        if self._pipe is None:
            return
        line = json.dumps({"kind": kind, **facts}).encode() + b"\n"
        with self._turn:
            while line:
                line = line[os.write(self._pipe, line) :]

    def expect(self, plans: Sequence[JobPlan]) -> None:
        """Ignore the plans: the parent knows what it ordered."""

    def loading(self, job: Job) -> None:
        self.say("loading")

    def unlearning(self, job: Job, steps: int) -> None:
        self.say("unlearning", steps=steps)

    def step(self, job: Job, loss: float | None) -> None:
        self.say("step", loss=loss)

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        self.say("scoring", benchmark=benchmark, items=items)

    def scored(self, job: Job, items: int) -> None:
        self.say("scored", items=items)

    def finished(self, result: CellResult) -> None:
        self.say("cell", key=result.key.model_dump())

    def warn(self, line: str) -> None:
        self.say("warn", line=line)


def end_with_parent() -> None:
    """End with the parent: when the other end of standard input closes, this process ends with all that it started."""
    watched = os.dup(0)  # plugins that read standard input find it empty
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def watch() -> None:
        while os.read(watched, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
