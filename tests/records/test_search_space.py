"""What tuning may choose from: declared, written in recipes, and checked against the method's signature."""

from __future__ import annotations

import pytest

from unlearnbench.errors import UsageError
from unlearnbench.plugins.options import resolve_space
from unlearnbench.plugins.registry import find_plugin, list_plugins
from unlearnbench.records.search_space import Choice, Linear, Log, ShareOf, nearest, read_domain, written


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ([3, 4], Choice((3, 4))),
        ({"log": ["3e-5", 1e-2]}, Log(3e-5, 1e-2)),
        ({"linear": [1, 8]}, Linear(1, 8)),
        ({"blocks": [0.2, 0.6]}, ShareOf("blocks", 0.2, 0.6)),
        ({"steps": [0, 1]}, ShareOf("steps", 0, 1)),
    ],
)
def test_a_domain_is_read_and_written(text, domain):
    assert read_domain(text) == domain
    assert read_domain(written(domain)) == domain


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ({"log": [0, 1]}, "begins above 0"),
        ({"linear": [2, 1]}, "from low to high"),
        ({"blocks": [0.2, 7]}, "between 0 and 1"),
        ({"linear": [1, "many"]}, "'many'"),
        ({"log": [1, True]}, "True"),
        ({"geometric": [1, 2]}, "a space is"),
        ([], "a space is"),
        (3, "a space is"),
    ],
)
def test_what_is_no_domain_is_said(text, problem):
    with pytest.raises(ValueError, match=problem):
        read_domain(text)


def test_shares_become_whole_numbers_of_this_model():
    assert ShareOf("blocks", 0.2, 0.6).of(30) == Linear(6, 18)
    assert ShareOf("blocks", 0.2, 0.6).of(8) == Linear(2, 5)
    assert ShareOf("blocks", 0.9, 1.0).of(6) == Linear(5, 5)  # blocks are numbered from 0
    assert ShareOf("steps", 0.0, 1.0).of(6) == Linear(0, 6)


def test_the_nearest_value_is_inside():
    assert nearest(Linear(2, 5), 7) == 5
    assert nearest(Log(1e-5, 1e-2), 1.0) == 1e-2
    assert nearest(Choice(("a", "b")), "c") == "a"
    assert nearest(Log(1.0, 10.0), [3, 4]) == 1.0  # one number per topic is no start for a search


def test_every_declared_space_fits_its_signature():
    methods = [info.name for info in list_plugins() if info.kind == "method" and info.distribution == "unlearnbench"]
    spaces = {name: resolve_space(find_plugin("method", name).spec, {}, {}, name) for name in methods}
    assert {"rmu", "llmu", "scrub", "ssd"} <= {name for name, space in spaces.items() if space}


def test_a_recipe_changes_a_space():
    spec = find_plugin("method", "rmu").spec
    space = resolve_space(spec, {"lr": Choice((1e-3,)), "alpha": None, "rank": Linear(4, 64)}, {}, "mine")
    assert space.keys() == {"layer", "coefficient", "lr", "rank"}
    assert space["lr"] == Choice((1e-3,))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"lr_": Log(1e-5, 1e-2)}, "Unknown option of mine 'lr_'. Did you mean 'lr'"),
        ({"lr": Linear(-1.0, 1.0)}, "mine.lr takes float > 0"),
        ({"rank": Linear(1.0, 9.0)}, "mine.rank takes int"),
        ({"vector": Choice(("uniform", "round"))}, "mine.vector"),
        ({"layer": ShareOf("blocks", 0.5, 2.0)}, "space of mine.layer: shares lie between"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(changes, problem):
    with pytest.raises(UsageError, match=problem):
        resolve_space(find_plugin("method", "rmu").spec, changes, {}, "mine")
