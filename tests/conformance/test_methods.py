"""Every method that comes with unlearnbench passes every check, or fails it for the reason that its package states."""

from __future__ import annotations

import pytest

from unlearnbench.plugins.registry import find_plugin, list_plugins
from unlearnbench.testing import FAMILIES, Check, checks_of, parameters_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves
METHODS = [info.name for info in list_plugins("method") if info.distribution == "unlearnbench"]
CHECKS: list[Check] = [check for name in METHODS for check in checks_of(find_plugin("method", name).spec)]
OTHERS = [family for family in FAMILIES if family != "llama"]
# without what is stated as the reason, the failure does not come
WITHOUT = {
    "adaptive-rmu": {"masked": True},
    "llmu": {"random_weight": 0.0},
    "rmu": {"masked": True},
}


def is_quick(check: Check) -> bool:
    """All but families; of these each method takes one, in turn."""
    own = OTHERS[METHODS.index(check.plugin) % len(OTHERS)]
    return not check.name.startswith("family") or check.name == f"family[{own}]"


@pytest.mark.parametrize("check", parameters_of(c for c in CHECKS if is_quick(c)))
def test_method(check):
    check()


@pytest.mark.parametrize("name", WITHOUT)
def test_padding_counts_for_the_stated_reason_alone(name):
    checks = checks_of(find_plugin("method", name).spec, WITHOUT[name])
    (check,) = [check for check in checks if check.name == "padding_does_not_count"]
    assert check.outcome().status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("check", parameters_of(c for c in CHECKS if not is_quick(c)))
def test_method_on_every_family(check):
    check()
