"""Processes of their own for jobs: they run `unlearnbench.execution.worker`, never this command line.

A worker tells its parent how far it is through a pipe that nobody else writes to; what plugins print goes to the job's log. It
leads a process group of its own, so that whatever it starts ends with it, and it ends when its parent does.

Lightning's DDP starts the command that it runs in once more for each further process, and all of them go on after the fit. In
a worker that is harmless: it trains, and the first process stores the delta. Scoring and storing cells stay with the parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from unlearnbench.errors import StorageError
from unlearnbench.execution.messages import decode
from unlearnbench.execution.orders import JobOrder
from unlearnbench.system import stop_signals

if TYPE_CHECKING:
    from types import TracebackType

    from unlearnbench.execution.context import JobContext
    from unlearnbench.planning.plan import JobPlan

OUTPUT = "output.log"
THREADS = "OMP_NUM_THREADS"
LAST_WORDS_SECONDS = 10.0  # from the last message to the end of a process


class Process:
    """A process of ours that sends messages; leaving it as a context ends it with all that it started.

    Args:
        words: words of the command: a module to run and its arguments; `--tell` and the descriptor to write to follow.
        output: file to which its output is added.
        environment: variables that it has beside ours.
    """

    def __init__(self, words: Sequence[str], output: Path, environment: Mapping[str, str] | None = None) -> None:
        self.pipe, telling = os.pipe()
        self._unread = b""
        command = [sys.executable, "-m", *words, "--tell", str(telling)]
        try:
            self.process = _start(command, telling, output, {**os.environ, **(environment or {})})
        except BaseException:
            os.close(self.pipe)
            raise
        finally:
            os.close(telling)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield its messages, until it closes the pipe."""
        while (messages := self.read()) is not None:
            yield from messages

    def read(self, seconds: float | None = None) -> list[dict[str, Any]] | None:
        """Return its new messages; waits so many seconds if there are none, and is None once it has closed the pipe."""
        if seconds is not None and not select.select([self.pipe], [], [], max(seconds, 0.0))[0]:
            return []
        content = os.read(self.pipe, 1 << 16)
        if not content:
            return None
        *lines, self._unread = (self._unread + content).split(b"\n")
        return [message for line in lines if (message := decode(line)) is not None]

    def wait(self) -> int:
        """Return its exit code, or minus the signal that ended it; one that lives on in silence is killed.

        Raises:
            StopRequested: it was asked to stop before it could leave that to this process.
        """
        try:
            code = self.process.wait(LAST_WORDS_SECONDS)
        except subprocess.TimeoutExpired:
            self.end()
            code = self.process.wait()
        if -code in stop_signals.REQUESTS:
            stop_signals.request(-code)
        return code

    def end(self) -> None:
        """Kill it with all that it started, and close the pipe."""
        if self.pipe < 0:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group of its own, which may outlive it
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        os.close(self.pipe)
        self.pipe = -1


class Worker(Process):
    """A process for one job.

    Args:
        plan: plan of the job.
        context: context of the comparison, whose recipe lies in the run folder.
        due: benchmarks to score; without any it trains and leaves the delta.
        beside: number of such processes at a time; they share the cores.
    """

    def __init__(self, plan: JobPlan, context: JobContext, due: tuple[str, ...] = (), *, beside: int = 1) -> None:
        job = plan.job
        self._log = context.run.log_path(job) / OUTPUT
        self._root = context.run.root
        order = JobOrder(
            run=context.run.root,
            variant=job.variant,
            seed=job.seed,
            identity=job.identity,
            cells={name: plan.cells[name] for name in due},
            cache=context.cache_folder,
            device="cuda" if context.device.type == "cuda" else "cpu",
        )
        super().__init__(["unlearnbench.execution.worker", order.model_dump_json()], self._log, share_of_cores(beside))

    def where_to_look(self) -> str:
        """Return the end of a sentence: the file in which its output can be read."""
        return f"its output is in {self._log.relative_to(self._root)}"


def share_of_cores(processes: int) -> dict[str, str]:
    """Return the variable that gives each of so many processes its share of the cores, unless the user has set it.

    More threads than cores wait for each other at every product: two processes with two threads each on two cores train a
    small model twenty times slower than with one each.
    """
    if processes == 1 or THREADS in os.environ:
        return {}
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return {THREADS: str(max(cores // processes, 1))}


def _start(command: list[str], telling: int, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # nothing is written: that it closes tells the worker that its parent is gone
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(telling,),
                start_new_session=True,
                env=dict(environment),
            )
    except OSError as error:
        raise StorageError.of(log, error) from error


def how_it_ended(code: int) -> str:
    """Return a worker's unannounced end in words.

    Args:
        code: exit code of the process, or minus the number of the signal that ended it.
    """
    if code >= 0:
        return f"its process left with exit code {code} before the job was done"
    name = signal.Signals(-code).name if -code in {known.value for known in signal.Signals} else f"signal {-code}"
    memory = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
    return f"its process was ended by {name} ({(signal.strsignal(-code) or 'unknown').lower()}){memory}"
