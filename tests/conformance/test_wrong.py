"""Each check finds the plugin that is wrong in its way, and finds nothing wrong with the others."""

from __future__ import annotations

import importlib
import sys

import pytest
from conformance import wrong_attacks, wrong_benchmarks, wrong_methods

from unlearnbench.errors import PluginError, UsageError
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.testing import CheckFailed, checks_of, parametrize_checks
from unlearnbench.testing.attack_checks import ATTACK_CHECKS
from unlearnbench.testing.benchmark_checks import BENCHMARK_CHECKS
from unlearnbench.testing.method_checks import METHOD_CHECKS

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves
KINDS = {"method": wrong_methods, "benchmark": wrong_benchmarks, "attack": wrong_attacks}
# what a process remembers, another one does not
ALSO = {"same_seed_same_weights": {"same_weights_in_a_subprocess"}}
CASES = [(kind, check) for kind, module in KINDS.items() for check in module.SPECS if check != "right"]


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory):
    """The wrong plugins as an installed distribution: all that pip leaves of one that has modules elsewhere."""
    site = tmp_path_factory.mktemp("site")
    folder = site / "wrong_plugins-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-plugins\nVersion: 1.0\n")
    lines = []
    for kind, module in KINDS.items():
        lines.append(f"[unlearnbench.{kind}s]")
        lines += [f"{s.name} = {module.__name__}" for s in module.SPECS.values() if not s.name.startswith("nobody")]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield
    sys.path.remove(str(site))


def bound(kind: str, check: str):
    return {one.name: one for one in checks_of(KINDS[kind].SPECS[check])}


def test_every_check_has_a_plugin_that_fails_it():
    for kind, registry in (("method", METHOD_CHECKS), ("benchmark", BENCHMARK_CHECKS), ("attack", ATTACK_CHECKS)):
        wanted = {name.partition("[")[0] for name in registry.names()}
        assert {check.partition("[")[0] for check in KINDS[kind].SPECS} - {"right"} == wanted


@pytest.mark.parametrize(("kind", "check"), CASES, ids=lambda value: value)
def test_wrong_plugin_fails_its_check(kind, check):
    """And says what to do: more than one clause, no traceback."""
    outcome = bound(kind, check)[check].outcome()
    assert outcome.status == "failed", outcome
    assert "the check itself stopped" not in outcome.message
    assert ";" in outcome.message or ". " in outcome.message


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "check"), [*CASES, *((kind, "right") for kind in KINDS)], ids=lambda value: value)
def test_wrong_plugin_fails_no_other_check(kind, check):
    failed = {name: one.outcome().message for name, one in bound(kind, check).items() if one.outcome().bad}
    assert set(failed) - ALSO.get(check, set()) == {check} - {"right"}, failed


def test_expected_failure_is_passed_with_its_reason():
    spec = wrong_methods.SPECS["documented"]
    (check,) = [c for c in checks_of(spec, expected_failures={"documented": "no time yet"}) if c.name == "documented"]
    outcome = check.outcome()
    assert (outcome.status, outcome.message, outcome.bad) == ("expected failure", "no time yet", False)


def test_expected_failure_that_does_not_come_is_reported():
    (check,) = [c for c in checks_of(wrong_methods.SPECS["right"], expected_failures={"documented": "?"}) if c.expected_failure]
    assert check.outcome().status == "unexpected pass"
    assert check.outcome().bad


def test_expected_failure_of_no_check_is_refused():
    with pytest.raises(UsageError, match="Did you mean 'documented'"):
        checks_of(wrong_methods.SPECS["right"], expected_failures={"documentet": "?"})


def test_package_states_options_and_failures(monkeypatch):
    """They count as if they had been handed over; where options are given, a stated failure need not come."""
    spec = wrong_methods.SPECS["documented"]
    stated = {"options": {"lr": 0.01}, "expected_failures": {"documented": "no time yet", "source_and_summary": "as above"}}
    monkeypatch.setattr(wrong_methods, "CONFORMANCE", {spec.name: stated}, raising=False)

    def statuses(**handed):
        wanted = ("documented", "source_and_summary", "options_recorded")
        return [check.outcome().status for check in checks_of(spec, **handed) if check.name in wanted]

    assert statuses() == ["unexpected pass", "expected failure", "passed"]
    assert statuses(options={"lr": 0.02}) == ["passed", "expected failure", "passed"]
    assert statuses(options={"lr": 0.02}, expected_failures=stated["expected_failures"])[0] == "unexpected pass"
    monkeypatch.setattr(wrong_methods, "CONFORMANCE", {spec.name: {"expects": {}}})
    with pytest.raises(PluginError, match=r"CONFORMANCE of conformance.wrong_methods has expects for 'wrong-undocumented'"):
        checks_of(spec)


def test_decorator_makes_one_case_for_each_check():
    @parametrize_checks(find_plugin("method", "none").spec)
    def marked(check):
        check()

    (mark,) = marked.pytestmark
    assert mark.args[0] == "check"
    assert [parameter.id for parameter in mark.args[1]][:2] == ["none-entry_point", "none-source_and_summary"]


def test_called_check_raises_with_plugin_and_name():
    with pytest.raises(CheckFailed, match=r"wrong-undocumented, documented: .* has no docstring"):
        bound("method", "documented")["documented"]()
