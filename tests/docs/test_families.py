"""docs/families.md says what the families do."""

from __future__ import annotations

import pytest
from helpers.families import EVERY

from docs import families


def test_the_page_has_every_family_and_begins_as_it_is_written():
    text = families.PAGE.read_text(encoding="utf-8")
    assert text.startswith(families.HEAD), "run `make families`"
    assert families.families_of(text) == EVERY, "run `make families`"


@pytest.mark.filterwarnings("ignore")  # of the families themselves
@pytest.mark.parametrize("family", ["gpt2", "mamba", "paligemma"])
def test_rows_are_current(family):
    """A few of them each time; `test_every_row_is_current` has all."""
    assert f" | {' | '.join(families.tried(family))} |" in line_of(family)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", EVERY)
def test_every_row_is_current(family):
    assert f" | {' | '.join(families.tried(family))} |" in line_of(family)


def line_of(family: str) -> str:
    lines = families.PAGE.read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"| `{family}`"))
