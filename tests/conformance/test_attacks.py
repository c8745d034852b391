"""Every attack that comes with unlearnbench passes every check."""

from __future__ import annotations

import pytest

from unlearnbench.plugins.registry import find_plugin, list_plugins
from unlearnbench.testing import Check, checks_of, parameters_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and torch among themselves
OPTIONS = {"relearn": {"steps": 2, "rates": [1e-3], "batch_size": 2, "max_length": 16}, "probe": {"most": 8}}
CHECKS: list[Check] = []
for info in list_plugins("attack"):
    if info.module.startswith("unlearnbench_attacks."):
        CHECKS += checks_of(find_plugin("attack", info.name).spec, OPTIONS.get(info.name))


@pytest.mark.parametrize("check", parameters_of(CHECKS))
def test_attack(check):
    check()


def test_every_attack_is_checked():
    assert {check.plugin for check in CHECKS} == {"lens", "probe", "prune", "quantize", "relearn"}
