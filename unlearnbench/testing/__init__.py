"""Conformance checks for methods, benchmarks and attacks, for pytest and the command line.

from unlearnbench.testing import parametrize_checks

@parametrize_checks(SPEC)
def test_conformance(check):
    check()
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unlearnbench.plugins.specs import AttackSpec, BenchmarkSpec, MethodSpec, PluginSpec
from unlearnbench.records.base import Value
from unlearnbench.testing.attack_checks import ATTACK_CHECKS, AttackCase
from unlearnbench.testing.benchmark_checks import BENCHMARK_CHECKS, Answers, BenchmarkCase
from unlearnbench.testing.checks import Check, CheckFailed, NotApplicable, Outcome, Registry
from unlearnbench.testing.entry_points import stated_by
from unlearnbench.testing.method_checks import METHOD_CHECKS, MethodCase
from unlearnbench.testing.tiny_models import (
    FAMILIES,
    ConstantAnswers,
    Oracle,
    RandomAnswers,
    tiny_folder,
    tiny_model,
    tiny_tokenizer,
)

__all__ = [
    "FAMILIES",
    "Check",
    "CheckFailed",
    "ConstantAnswers",
    "NotApplicable",
    "Oracle",
    "Outcome",
    "RandomAnswers",
    "checks_of",
    "parameters_of",
    "parametrize_checks",
    "tiny_folder",
    "tiny_model",
    "tiny_tokenizer",
]


def _method_case(spec: MethodSpec, given: dict[str, Value], _answers: Answers | None) -> MethodCase:
    return MethodCase(spec, given)


# by what a plugin offers: the checks of its kind, and what they are tried on
_CHECKS: dict[type, tuple[Registry, Callable[..., Any]]] = {
    MethodSpec: (METHOD_CHECKS, _method_case),
    BenchmarkSpec: (BENCHMARK_CHECKS, BenchmarkCase),
    AttackSpec: (ATTACK_CHECKS, AttackCase),
}


def checks_of(
    spec: PluginSpec,
    options: Mapping[str, Value] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    answers: Answers | None = None,
) -> list[Check]:
    """Return every check of a method, benchmark or attack; nothing runs before they are called.

    What the plugin's own package states in `CONFORMANCE` counts, too: `options`, and `expected_failures`, which need not come
    where options are given here.

    Args:
        spec: spec of the plugin.
        options: options in place of the defaults, for example a `layer` that a tiny model has.
        expected_failures: reasons why checks are known to fail, by the check's name; a failure that does not come is reported.
        answers: function for a benchmark whose items are no `Question`s: from the benchmark and a tokenizer to each prompt as
            the model gets it and the text of the right answer.

    Raises:
        UsageError: there is no check of that name.
    """
    stated = stated_by(spec)
    given = {**stated.options, **(options or {})}
    expected = {**stated.expected_failures, **(expected_failures or {})}
    optional = stated.expected_failures.keys() - (expected_failures or {}).keys() if options else ()
    for kind, (checks, case) in _CHECKS.items():
        if isinstance(spec, kind):
            return checks.bind(case(spec, given, answers), spec.name, expected, optional)
    raise TypeError(f"there are no checks for a {type(spec).__name__}")


def parametrize_checks(
    spec: PluginSpec,
    options: Mapping[str, Value] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    answers: Answers | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a pytest decorator: the test runs once for every check, handed on as `check`; call it.

    A failure that is expected is a strict xfail with its reason.

    Args:
        spec: spec that the plugin offers, as in `checks_of`.
        options: options that are tried, as in `checks_of`.
        expected_failures: reasons by check, as in `checks_of`.
        answers: function that gives prompts and right answers, as in `checks_of`.

    Raises:
        UsageError: there is no check of that name.
    """
    import pytest

    return pytest.mark.parametrize("check", parameters_of(checks_of(spec, options, expected_failures, answers)))


def parameters_of(checks: Iterable[Check]) -> list[Any]:
    """Return checks as arguments for `pytest.mark.parametrize`.

    Args:
        checks: checks from `checks_of`, of several plugins if need be.
    """
    import pytest

    def marks(check: Check) -> list[Any]:
        if check.expected_failure is None:
            return []
        return [pytest.mark.xfail(reason=check.expected_failure, strict=check.strict, raises=CheckFailed)]

    return [pytest.param(check, id=str(check), marks=marks(check)) for check in checks]
