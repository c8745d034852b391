"""Python looks seldom for garbage in a plan, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

from unlearnbench.system.memory import seldom_collected


@pytest.fixture
def looks():
    """Yield the generations of the looks for garbage since the test began."""
    seen: list[int] = []

    def note(phase, info):
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def test_what_stays_is_not_walked_through_again_and_again(looks):
    with seldom_collected():
        gc.collect(0)  # what was there before may not tip the count
        del looks[:]
        kept = [[number] for number in range(100_000)]
        within = list(looks)
    del kept, looks[:]
    again = [[number] for number in range(100_000)]
    assert (len(within), len(again)) == (0, 100_000)
    assert len(looks) > 20


def test_what_is_let_go_of_soon_is_found(looks):
    class Link:
        alive = 0

        def __init__(self):
            self.itself = self
            Link.alive += 1

        def __del__(self):
            Link.alive -= 1

    with seldom_collected():
        most = max(Link().alive for _ in range(500_000))
    assert most < 250_000


@seldom_collected()
def fails():
    raise KeyError(gc.get_threshold())


def test_the_habit_comes_back_after_an_error():
    before = gc.get_threshold()
    with pytest.raises(KeyError) as error:
        fails()
    assert error.value.args[0] != before
    assert gc.get_threshold() == before
