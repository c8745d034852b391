"""The errors that reach a user as one sentence instead of a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class UnlearnbenchError(Exception):
    """Anything unlearnbench can explain in one sentence; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(UnlearnbenchError):
    """The user asked for something that cannot be done as asked: nothing was computed, nothing was written."""

    exit_code = 2


class PluginError(UsageError):
    """A plugin that was asked for cannot be used; names the distribution it comes from."""


class CellError(UnlearnbenchError):
    """One cell of a comparison failed; the others go on."""


class StorageError(UnlearnbenchError):
    """A disk or folder does not take what is to be kept: the comparison stops, what is finished stays."""

    @classmethod
    def of(cls, path: object, error: OSError) -> StorageError:
        """What an operating system's error means for whoever runs a comparison."""
        advice = {
            errno.ENOSPC: "free some room on the disk",
            errno.EDQUOT: "free some of the quota",
            errno.EROFS: "the disk is mounted read-only",
            errno.EACCES: "give yourself write permission",
            errno.EPERM: "give yourself write permission",
        }.get(error.errno or 0)
        then = f"{advice}; " if advice else ""
        return cls(
            f"{path} cannot be written: {error.strerror or error}. What was finished before is kept; {then}"
            "the same command goes on from there."
        )


def normalise(name: str) -> str:
    """The form in which names are compared: `mt-bench` and `mt_bench` are one name."""
    return name.replace("_", "-").lower()


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that a typing error most likely meant, or None."""
    by_form = {normalise(candidate): candidate for candidate in allowed}
    found = difflib.get_close_matches(normalise(name), by_form, n=1, cutoff=0.55)
    return by_form[found[0]] if found else None


def unknown_name(kind: str, name: str, allowed: Iterable[str], advice: str = "") -> UsageError:
    """A `UsageError` that says what was given, what was probably meant, and what is allowed."""
    choices = sorted(allowed)
    guess = closest(name, choices)
    meant = f" Did you mean '{guess}'?" if guess else ""
    listed = ", ".join(choices) if choices else "none"
    return UsageError(f"Unknown {kind} '{name}'.{meant} Available: {listed}." + (f" {advice}" if advice else ""))
