"""The C library's heap."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


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
