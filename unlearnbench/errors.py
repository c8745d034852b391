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
    """A command that cannot be carried out: nothing was computed, nothing was written."""

    exit_code = 2


class CombinedUsageError(UsageError):
    """Several mistakes at once, numbered; `problems` has the sentences."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(map(printable, problems))
        super().__init__(f"{len(self.problems)} things are in the way; nothing was computed.")

    def __str__(self) -> str:
        lines = [f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1)]
        return "\n".join([super().__str__(), *lines])


class PluginError(UsageError):
    """A plugin that a recipe or a command names cannot be used; the message names its distribution."""


class CellError(UnlearnbenchError):
    """One cell of a comparison failed; the others go on."""


class StorageError(UnlearnbenchError):
    """A disk or folder that cannot be written: the comparison stops, finished cells stay."""

    @classmethod
    def of(cls, path: object, error: OSError) -> StorageError:
        """Return the error with its cause and the next step for a user."""
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
    """Return a text on one line, whatever a file had in it: control characters and halves of characters are written out."""
    whole = text if text.isprintable() else re.sub(r"\s*\n\s*", " ", text)
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in whole)


def one_line(error: BaseException) -> str:
    """Return an error's whole message as one line."""
    words = " ".join(str(error).split())
    return (words if len(words) <= MOST_SAID else f"{words[:MOST_SAID]}...") or "no message"


def reason_of(error: BaseException) -> str:
    """Return an error's message for the middle of a sentence: without its full stop; its type where it has none."""
    return one_line(error).rstrip(".") if str(error).strip() else type(error).__name__


class Problems:
    """Mistakes, collected so that a user sees all of them at once."""

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
        """Note a `UsageError` that the block raises, and go on after it."""
        try:
            yield
        except UsageError as error:
            self.add(error)

    def attempt(
        self, function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result | None:
        """Return the function's result, or None where it raised a `UsageError`, which is noted."""
        with self.noted():
            return function(*args, **kwargs)
        return None

    def each(self, reword: Callable[[str], str]) -> None:
        """Replace every problem's words."""
        self._found = {reworded: UsageError(reworded) for reworded in map(reword, self._found)}

    def settle(self) -> None:
        """Raise the problems, if there are any.

        Raises:
            UsageError: the one problem, as it was raised, or a `CombinedUsageError` with all of them.
        """
        found = list(self._found.values())
        if len(found) == 1:
            raise found[0]
        if found:
            raise CombinedUsageError(map(str, found))


def normalise(name: str) -> str:
    """Return the form in which names are compared: `mt-bench` and `mt_bench` are one name."""
    return name.replace("_", "-").lower()


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed name that a typing error most likely meant, or None."""
    by_form = {normalise(candidate): candidate for candidate in allowed}
    found = difflib.get_close_matches(normalise(name), by_form, n=1, cutoff=0.55)
    return by_form[found[0]] if found else None


def unknown_name(kind: str, name: str, allowed: Iterable[str], advice: str = "") -> UsageError:
    """Return a `UsageError`, to be raised, that says what was given, what was probably meant, and what is allowed.

    Args:
        kind: kind of thing that is named, such as `subset`.
        name: the name that was given.
        allowed: all names that would do.
        advice: a sentence to end with: the next command, or where to look.
    """
    choices = sorted(allowed)
    guess = closest(name, choices)
    meant = f" Did you mean '{guess}'?" if guess else ""
    listed = ", ".join(choices) if choices else "none"
    return UsageError(f"Unknown {kind} '{name}'.{meant} Available: {listed}." + (f" {advice}" if advice else ""))
