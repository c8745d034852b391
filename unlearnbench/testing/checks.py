"""A check of one property, with a message that says what to do, and the code that runs checks."""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from unlearnbench.errors import unknown_name

Status = Literal["passed", "failed", "skipped", "expected failure", "unexpected pass"]
"""The type of how a check ended."""
BAD: tuple[Status, ...] = ("failed", "unexpected pass")


class CheckFailed(AssertionError):  # noqa: N818 - it failed; nothing went wrong with the check
    """A plugin lacks the property; the message says what was seen and what to do."""


class NotApplicable(unittest.SkipTest):  # pytest and unittest both take it for a skip
    """The property cannot be judged here; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a check.

    Attributes:
        check: name of the check.
        promise: the property, in a sentence.
        status: result of the check; `unexpected pass` is an expected failure that did not come.
        message: advice, the reason why the check was skipped, or why the failure is expected.
    """

    check: str
    promise: str
    status: Status
    message: str = ""

    @property
    def bad(self) -> bool:
        """Return whether the plugin has to change, or the failures that are expected of it."""
        return self.status in BAD


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property of one plugin; calling it raises `CheckFailed` where the plugin lacks it.

    Attributes:
        plugin: name of the plugin under test.
        name: name of the check; one that is made for each family of models ends in the family, as in `family[gemma]`.
        promise: the property, in a sentence.
        function: function that tries the property; raises `CheckFailed`.
        expected_failure: the reason why it is known to fail; None where it should pass.
        strict: true where an expected failure has to come.
    """

    plugin: str
    name: str
    promise: str
    function: Callable[[], None] = field(repr=False)
    expected_failure: str | None = None
    strict: bool = True

    def __call__(self) -> None:
        try:
            self.function()
        except CheckFailed as failure:
            raise CheckFailed(f"{self.plugin}, {self.name}: {failure}") from failure.__cause__

    def __str__(self) -> str:
        return f"{self.plugin}-{self.name}"

    def outcome(self) -> Outcome:
        """Run the check; a failure is a result, not an exception."""
        status, message = "passed", ""
        try:
            self.function()
        except NotApplicable as reason:
            status, message = "skipped", str(reason)
        except CheckFailed as failure:
            status, message = "failed", str(failure)
        except Exception as error:  # a check that breaks is a finding, too
            status, message = "failed", f"the check itself stopped with {type(error).__name__}: {str(error).rstrip('.')}."
        if self.expected_failure is not None and status == "failed":
            status, message = "expected failure", self.expected_failure
        elif self.expected_failure is not None and status == "passed" and self.strict:
            status = "unexpected pass"
            message = "it passes; take it out of the expected failures."
        return Outcome(check=self.name, promise=self.promise, status=status, message=message)  # pyright: ignore


def require(condition: bool, message: str) -> None:
    """Raise `CheckFailed` with the message where the condition does not hold."""
    if not condition:
        raise CheckFailed(message)


class Registry:
    """The checks of one kind of plugin, in the order in which they are defined."""

    def __init__(self) -> None:
        self._known: list[tuple[Callable[..., None], Sequence[str], Callable[[Any], bool]]] = []

    def check(
        self, applies: Callable[[Any], bool] = lambda case: True, each: Sequence[str] = ()
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Register a function of a case as a check; its name is the check's, its docstring the promise.

        Args:
            applies: function that returns whether the check is for this case at all.
            each: variants, a check for each of them, handed on as the second argument.
        """

        def register(function: Callable[..., None]) -> Callable[..., None]:
            self._known.append((function, each, applies))
            return function

        return register

    def promises(self) -> list[tuple[str, str]]:
        """Return every check with its promise; one that is made for each family is listed once."""
        return [
            (f"{function.__name__}[...]" if each else function.__name__, str(function.__doc__))
            for function, each, _ in self._known
        ]

    def names(self) -> list[str]:
        """Return every check's name; a family is in brackets."""
        return [
            f"{function.__name__}[{variant}]" if variant else function.__name__
            for function, each, _ in self._known
            for variant in each or ("",)
        ]

    def bind(self, case: Any, plugin: str, expected: Mapping[str, str], optional: Collection[str] = ()) -> list[Check]:
        """Return the checks for a case.

        Args:
            case: plugin under test.
            plugin: name of the plugin.
            expected: reasons of expected failures, by the check's name.
            optional: names of expected failures that need not come.

        Raises:
            UsageError: a failure is expected of a check that does not exist.
        """
        bound = [
            Check(
                plugin=plugin,
                name=name,
                promise=promise,
                function=function,
                expected_failure=expected.get(name),
                strict=name not in optional,
            )
            for name, promise, function in self._bound(case)
        ]
        names = {check.name for check in bound}
        for name in expected:
            if name not in names:
                raise unknown_name(f"check of {plugin}", name, names)
        return bound

    def _bound(self, case: Any) -> Iterator[tuple[str, str, Callable[[], None]]]:
        for function, each, applies in self._known:
            name, promise = function.__name__, str(function.__doc__).strip()
            if not applies(case):
                continue
            if not each:
                yield name, promise, functools.partial(function, case)
            for variant in each:
                run = functools.partial(function, case, variant)
                yield f"{name}[{variant}]", f"{promise} ({variant})", run
