"""The memory that a container or a batch system allows this process, on Linux, and when Python looks for what it may free."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

UNLIMITED = 1 << 60  # version 1 writes a number near the largest there is
SELDOM = (200_000, 50, 1000)  # new objects until a look at the young ones, such looks until one at older ones, at all


def allowed_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that the control groups of this process still allow; None where there are none, or none has a limit.

    File pages that the system would give up first do not count as held. Both versions of control groups are read; of nested
    groups the tightest decides.

    Args:
        root: root of the file system.
    """
    left = (_left(folder, names) for folder, names in _groups(root))
    return min((bound for bound in left if bound is not None), default=None)


def _groups(root: Path) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield each group of this process and those around it, with the names of its files: limit, usage, and reclaimable
    bytes.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, names
            if folder == mount:
                break


def _left(folder: Path, names: tuple[str, str, str]) -> int | None:
    limit, held, spare = names
    with contextlib.suppress(OSError, ValueError):
        most = int((folder / limit).read_text())  # "max" is no number
        if most < UNLIMITED:
            return max(most - int((folder / held).read_text()) + _figure(folder / "memory.stat", spare), 0)
    return None


def _figure(file: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(dict(line.split() for line in file.read_text().splitlines()).get(name, 0))
    return 0


def give_back() -> None:
    """Return the heap's free pages to the system, where the C library can: glibc.

    Tensors of a few MB leave it full of holes, a quarter of a small model's training; what is needed again comes back as
    fresh pages, which costs tens of milliseconds.
    """
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; TypeError: Windows
        return None


@contextlib.contextmanager
def seldom_collected() -> Generator[None]:
    """Look seldom for garbage in cycles, and hardly ever among what has stayed: in the block nearly all that is made stays.

    Imports of torch, transformers and Lightning otherwise have Python walk through all that is there again and again, for a
    sixth of their time. What is let go of soon is still found soon.
    """
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
