"""Numbers as people read them."""

from __future__ import annotations

import pytest

from unlearnbench.reports.units import pace


@pytest.mark.parametrize(
    ("number", "seconds", "told"),
    [
        (32, 10.0, "3.2 updates/s"),
        (1, 1.0, "1.0 updates/s"),
        (2, 5.0, "2.5 s/update"),
        (10, 99.0, "9.9 s/update"),
        (3, 100.0, "33 s/update"),
        (1, 240.0, "4 min/update"),
    ],
)
def test_pace(number, seconds, told):
    assert pace(number, seconds, "update") == told
