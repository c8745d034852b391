"""State that all jobs of a process share, put back after each: plugins may change it, and the next job must not notice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from unlearnbench.system.stop_signals import REQUESTS

DTYPE, MATMUL = "float32", "highest"  # what torch starts with


@contextmanager
def restored_process_state() -> Generator[None]:
    """Put back afterwards: random generators, torch's settings, environment variables, working folder, signal handlers."""
    put_back = [_environment(), generators(), _torch_settings(), _request_handlers()]
    try:
        yield
    finally:
        for undo in put_back:
            undo()


def seed_all(seed: int) -> None:
    """Seed Python's, numpy's and torch's generators, as Lightning does where it trains."""
    import numpy
    import torch

    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


def _environment() -> Callable[[], None]:
    variables, folder = dict(os.environ), os.getcwd()

    def undo() -> None:
        if os.environ != variables:
            os.environ.clear()
            os.environ.update(variables)
        with contextlib.suppress(OSError):
            os.chdir(folder)

    return undo


def generators() -> Callable[[], None]:
    """Remember the state of Python's, numpy's and torch's generators; return a function that puts it back."""
    python_state = random.getstate()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    numpys = numpy.random.get_state() if numpy else None
    torchs = torch.get_rng_state() if torch else None
    gpus = torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else None

    def undo() -> None:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpys)
        if torch:
            torch.set_rng_state(torchs)
            if gpus is not None:
                torch.cuda.set_rng_state_all(gpus)

    return undo


def _request_handlers() -> Callable[[], None]:
    """Remember the handlers of requests to stop; return a function that puts them back: Lightning ignores Ctrl-C once
    interrupted.
    """
    handlers = {number: signal.getsignal(number) for number in REQUESTS}

    def undo() -> None:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)

    return undo


def _torch_settings() -> Callable[[], None]:
    """Remember torch's settings; return a function that puts them back. Where torch is not imported yet, these are its
    defaults.
    """
    torch = sys.modules.get("torch")
    dtype = torch.get_default_dtype() if torch else None
    device = torch.get_default_device() if torch else None
    gradients = torch.is_grad_enabled() if torch else True
    deterministic = torch.are_deterministic_algorithms_enabled() if torch else False
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled() if torch else False
    matmul = torch.get_float32_matmul_precision() if torch else MATMUL
    threads = torch.get_num_threads() if torch else None

    def undo() -> None:
        now = sys.modules.get("torch")
        if now is None:
            return
        now.set_default_dtype(dtype or getattr(now, DTYPE))
        if now.get_default_device() != (device or now.device("cpu")):
            now.set_default_device(device)
        now.set_grad_enabled(gradients)
        now.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        now.set_float32_matmul_precision(matmul)
        if threads is not None and now.get_num_threads() != threads:
            now.set_num_threads(threads)

    return undo
