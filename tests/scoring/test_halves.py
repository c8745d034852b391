"""Questions that choose settings and questions that report them: two halves of every benchmark."""

from __future__ import annotations

from collections import Counter

import pytest

from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.items import ItemResult
from unlearnbench.scoring.selection import in_half


def items(**sizes: int) -> list[ItemResult]:
    return [ItemResult(id=f"{part}/{n}", part=part, score=0.0) for part, size in sizes.items() for n in range(size)]


def half(asked, which):
    return in_half(asked, which, lambda item: item.id)


def test_halves_divide_every_part():
    asked = items(bio=40, cyber=41, chem=7)
    chosen, reported = half(asked, "selection"), half(asked, "reporting")
    assert {item.id for item in chosen}.isdisjoint(item.id for item in reported)
    assert sorted(asked, key=lambda i: i.id) == sorted([*chosen, *reported], key=lambda i: i.id)
    sizes = [Counter(item.part for item in one) for one in (chosen, reported)]
    assert all(abs(sizes[0][part] - sizes[1][part]) <= 1 for part in ("bio", "cyber", "chem"))
    assert [item.id for item in chosen] == [item.id for item in asked if item in chosen]  # in order


def test_the_half_follows_from_ids_not_from_the_order():
    asked = items(bio=40, cyber=10)
    backwards = half(asked[::-1], "selection")
    assert {item.id for item in backwards} == {item.id for item in half(asked, "selection")}
    assert [item.id for item in half(asked, "selection")] != [item.id for item in asked[::2]]  # a hash, not every second one


def test_parts_of_one_item_fall_to_both_sides():
    sizes = [len(half(items(a=1, b=1, c=1, d=1), which)) for which in ("selection", "reporting")]
    assert sizes == [2, 2]


def test_turns_of_a_conversation_stay_together():
    talks = [ItemResult(id=f"{n}/turn-{t}", part="talk", score=1.0) for n in range(9) for t in (1, 2)]
    chosen = half(talks, "selection")
    assert all(Counter(item.id.split("/")[0] for item in chosen)[name] == 2 for name in {i.id.split("/")[0] for i in chosen})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("wmdp", {"source": "sandbox:wmdp"}),
        ("wmdp-shuffled", {"source": "sandbox:wmdp"}),
        ("mmlu", {"source": "sandbox:mmlu"}),
        ("mt_bench", {"source": "sandbox:mt_bench", "judge": "rules"}),
    ],
)
def test_shipped_benchmarks_ask_a_half(name, options):
    whole, chosen, reported = (find_plugin("benchmark", name).spec.factory(**options) for _ in range(3))
    assert chosen.keep_half("selection")
    assert reported.keep_half("reporting")
    assert chosen.count(None) + reported.count(None) == whole.count(None)
    assert chosen.parts() == reported.parts() == whole.parts()
    assert len({whole.digest(), chosen.digest(), reported.digest()}) == 3
