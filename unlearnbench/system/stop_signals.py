"""Requests to stop: Ctrl-C, a batch system that wants its machine back, a terminal that closed. They count as no failure.

A request is raised in the main thread wherever that is. What swallows or rewraps it does not get far: nothing is kept any more
(`heed`), and a process that has not ended by itself is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Slurm is told to send SIGUSR1 before a job's time is up, LSF sends SIGUSR2
REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
PATIENCE_SECONDS = 8.0  # from a request to the end of a process that does not end by itself; containers get 10

Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class StopRequested(KeyboardInterrupt):
    """A request to stop, raised in this process: no `Exception`, so that plugins and asyncio let it pass.

    Attributes:
        exit_code: 128 and the signal's number, as a shell has it.
        arrived: True once it has reached the code that reports it.
    """

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}.{words and ' '}{words}")
        self.exit_code = 128 + number
        self.arrived = False


_asked: StopRequested | None = None
_heeding = False
_words = ""


@contextmanager
def heeded() -> Generator[None]:
    """Raise a `StopRequested` in the block at the first request; further ones do not disturb what is put in order then.

    A signal that the parent has this process ignore, as `nohup` does, stays ignored. Handlers are put back afterwards, unless
    a request came: what is left of the process is its end.
    """
    global _heeding
    found, _heeding = _handle(_stop), True
    try:
        yield
    except BaseException as error:
        heed()  # whatever a request made of things, such as a terminal that takes no more words
        if isinstance(error, KeyboardInterrupt):
            request(signal.SIGINT)  # raised without a signal
        raise
    finally:
        _heeding = False
        if _asked is not None:
            _asked.arrived = True
        else:
            for number, handler in found.items():
                signal.signal(number, handler)


@contextmanager
def answered_with(words: str) -> Generator[None]:
    """Set the words that follow the name of a request to stop that comes in the block."""
    global _words
    before, _words = _words, words
    try:
        yield
    finally:
        _words = before


@contextmanager
def interruptible_afterwards() -> Generator[None]:
    """Have Ctrl-C do after the block what it did before: Lightning ignores it for good once a fit was interrupted."""
    if threading.current_thread() is not threading.main_thread():  # others neither get signals nor may set handlers
        yield
        return
    found = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if found is not None:
            signal.signal(signal.SIGINT, found)


def heed() -> None:
    """Raise the request once more if there was one: no result that it may have spoilt is to be kept."""
    if _asked is not None:
        raise _asked


def request(number: int) -> None:
    """Ask this process to stop, on behalf of a signal that another process received.

    A process that does not heed requests, such as a notebook's, is not ours to end: there only what runs now stops.

    Raises:
        StopRequested: always, unless it has been raised already.
    """
    global _asked
    if _asked is not None:  # also once it has arrived: what runs at the interpreter's exit would end in a traceback
        return
    if not _heeding:
        raise StopRequested(number, _words)
    _asked = StopRequested(number, _words)
    start_new_thread(_lose_patience, (_asked,))  # `threading` takes locks, which the main thread may have just now
    raise _asked


def leave_to_parent() -> None:
    """Ignore requests in a process of ours: its parent gets them, too, or alone, and ends it.

    With a handler: what plugins start would inherit that a signal is ignored, and could not be ended with it.
    """
    _handle(_ignore)


def _handle(handler: Callable[[int, FrameType | None], None]) -> Mapping[int, Handler]:
    """Install a handler in this process, but for ignored signals; return the handlers before."""
    found: dict[int, Handler] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() == installer:
            handler(number, frame)
        else:  # a fork of ours, as a loader of data may have: its parent ends it with a signal
            signal.signal(number, found[number])
            os.kill(os.getpid(), number)

    installer = os.getpid()
    for number in REQUESTS:
        if (before := signal.getsignal(number)) not in (signal.SIG_IGN, None):
            found[number] = before
            signal.signal(number, handle)
    return found


def _stop(number: int, _: FrameType | None) -> None:
    request(number)


def _ignore(number: int, _: FrameType | None) -> None:
    pass


def _lose_patience(stop: StopRequested) -> None:
    """End a process that is stuck, or whose plugins swallow what is raised; its own processes end when it is gone."""
    time.sleep(PATIENCE_SECONDS)
    if not stop.arrived:
        with contextlib.suppress(OSError):
            os.write(2, f"{stop}\n".encode())
    os._exit(stop.exit_code)
