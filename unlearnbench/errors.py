"""The errors that reach a user as one sentence instead of a traceback."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


MOST_SAID = 600  # some libraries append a stack of C++ calls


class UnlearnbenchError(Exception):
    """Anything unlearnbench can explain in one sentence; `exit_code` is what the command line returns."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(UnlearnbenchError):
    """The user asked for something that cannot be done as asked: nothing was computed, nothing was written."""

    exit_code = 2


class CombinedUsageError(UsageError):
    """Several things that cannot be done as asked, numbered; `problems` has the sentences."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(map(printable, problems))
        super().__init__(f"{len(self.problems)} things are in the way; nothing was computed.")

    def __str__(self) -> str:
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        return "\n".join([super().__str__(), *lines])


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


def printable(text: str) -> str:
    """A text on one line, whatever a file had in it: control characters and halves of characters are written out."""
    whole = text if text.isprintable() else re.sub(r"\s*\n\s*", " ", text)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in whole)


def one_line(error: BaseException) -> str:
    """All that an error says, as one line."""
    said = " ".join(str(error).split())
    return (said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}...") or "no message"


def reason_of(error: BaseException) -> str:
    """What an error says, for the middle of a sentence: without its full stop; its type where it says nothing."""
    return one_line(error).rstrip(".") if str(error).strip() else type(error).__name__


class Problems:
    """What is wrong, collected so that a user hears all of it at once."""

    def __init__(self) -> None:
        self._found: dict[str, UsageError] = {}  # by sentence: what is wrong for two reasons is said once

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, error: UsageError) -> None:
        """Note a problem, or each of several."""
        if isinstance(error, CombinedUsageError):
            self._found |= {problem: UsageError(problem) for problem in error.problems}
        else:
            self._found.setdefault(str(error), error)

    @contextmanager
    def noted(self) -> Generator[None]:
        """What the block raises as a `UsageError` is noted, and one goes on after it."""
        try:
            yield
        except UsageError as error:
            self.add(error)

    def attempt(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result | None:
        """The function's result, or None where it raised a `UsageError`, which is noted."""
        with self.noted():
            return function(*args, **kwargs)
        return None

    def each(self, reword: Callable[[str], str]) -> None:
        """Say every problem in other words."""
        self._found = {reworded: UsageError(reworded) for reworded in map(reword, self._found)}

    def settle(self) -> None:
        """Go on where nothing is wrong.

        Raises:
            UsageError: the one problem, as it was raised, or a `CombinedUsageError` with all of them.
        """
        found = list(self._found.values())
        if len(found) == 1:
            raise found[0]
        if found:
            raise CombinedUsageError(map(str, found))


def normalise(name: str) -> str:
    """The form in which names are compared: `mt-bench` and `mt_bench` are one name."""
    return name.replace("_", "-").lower()


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that a typing error most likely meant, or None."""
    by_form = {normalise(candidate): candidate for candidate in allowed}
    found = difflib.get_close_matches(normalise(name), by_form, n=1, cutoff=0.55)
    return by_form[found[0]] if found else None


def unknown_name(kind: str, name: str, allowed: Iterable[str], advice: str = "") -> UsageError:
    """Return a `UsageError`, to be raised, that says what was given, what was probably meant, and what is allowed.

    Args:
        kind: what the name is a name of, as in `subset`.
        name: the name that was given.
        allowed: all names that would do.
        advice: a sentence to end with: the next command, or where to look.
    """
    choices = sorted(allowed)
    guess = closest(name, choices)
    meant = f" Did you mean '{guess}'?" if guess else ""
    listed = ", ".join(choices) if choices else "none"
    return UsageError(f"Unknown {kind} '{name}'.{meant} Available: {listed}." + (f" {advice}" if advice else ""))
