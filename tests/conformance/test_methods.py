"""Every method that comes with unlearnbench passes every check; the other families of models take longer and run apart."""

from __future__ import annotations

import pytest
from built_in import EXPECTED_FAILURES, OPTIONS

from unlearnbench.plugins import find_plugin, list_plugins
from unlearnbench.testing import Check, checks_of, parameters_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves
CHECKS: list[Check] = []
for info in list_plugins("method"):
    if info.distribution == "unlearnbench":
        spec = find_plugin("method", info.name).method
        CHECKS += checks_of(spec, OPTIONS.get(info.name), EXPECTED_FAILURES.get(info.name))


@pytest.mark.parametrize("check", parameters_of(c for c in CHECKS if not c.name.startswith("family")))
def test_method(check):
    check()


@pytest.mark.slow
@pytest.mark.parametrize("check", parameters_of(c for c in CHECKS if c.name.startswith("family")))
def test_method_on_every_family(check):
    check()
