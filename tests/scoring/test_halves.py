"""Questions that choose settings and questions that report them: two halves of every benchmark."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.items import ItemResult, Question
from unlearnbench.scoring.choice.near_duplicates import near_duplicates
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


def test_items_on_one_fact_stay_together():
    """Thirty facts of two to six items: no fact is on both sides, and the halves differ by no more than the largest."""
    asked = [ItemResult(id=f"bio/{fact}-{n}", part="bio", score=0.0) for fact in range(30) for n in range(2 + fact % 5)]
    facts = [item.id.split("/")[1].split("-")[0] for item in asked]
    chosen, reported = (in_half(asked, which, lambda item: item.id, facts) for which in ("selection", "reporting"))
    of = dict(zip((item.id for item in asked), facts, strict=True))
    assert {of[item.id] for item in chosen}.isdisjoint(of[item.id] for item in reported)
    assert len(chosen) + len(reported) == len(asked)
    assert abs(len(chosen) - len(reported)) <= 6


def test_items_of_no_known_fact_fall_as_they_did_alone():
    asked = items(bio=40, cyber=41, chem=1, law=1)
    for which in ("selection", "reporting"):
        assert in_half(asked, which, lambda item: item.id, [""] * len(asked)) == half(asked, which)


def test_halves_of_single_items_are_those_of_earlier_releases():
    """Every second item of each part in the order of the hashes, dealt on from part to part: the rule up to 0.1.0."""
    asked = items(a=1, b=1, bio=40, c=3, cyber=41)
    ordered = sorted(asked, key=lambda item: (item.part, hashlib.sha256(item.id.encode()).digest()))
    assert {item.id for item in half(asked, "selection")} == {item.id for item in ordered[::2]}


def test_sandbox_asks_about_an_entity_in_one_half_only():
    for name in ("wmdp", "wmdp-shuffled", "wmdp-cloze", "mmlu"):
        halves = [find_plugin("benchmark", name).spec.factory(source=f"sandbox:{name.partition('-')[0]}") for _ in range(2)]
        for benchmark, which in zip(halves, ("selection", "reporting"), strict=True):
            benchmark.keep_half(which)
        chosen, reported = ({question.fact for question in benchmark.questions} for benchmark in halves)
        assert chosen
        assert reported
        assert not chosen & reported


def test_your_own_questions_say_what_they_ask_about(tmp_path):
    rows = [{"question": f"{n}?", "choices": ["a", "b"], "answer": "A"} for n in range(8)]
    for n in range(6):
        rows[n]["fact"] = f"city {n // 2}"
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    benchmark = find_plugin("benchmark", "mcq").spec.factory(source=str(tmp_path / "mine.jsonl"))
    benchmark.keep_half("selection")
    numbers = {int(question.id.split("/")[1]) for question in benchmark.questions}
    assert len(numbers) == 4  # two cities here, one there, and the two questions of which nothing is known
    assert all((n in numbers) == (n + 1 in numbers) for n in (0, 2, 4))


def test_questions_that_read_alike_stay_together():
    """Where the data name no facts: the same question in other words but one, and the same words with another answer."""
    stems = [f"Which of the valleys of region {n} has the oldest lighthouse still in use" for n in range(12)]
    said = [*stems, *(f"{stem} today" for stem in stems)]
    asked = [Question(f"all/{n}", "all", "", (" A", " B"), 0, stem, (f"valley {n % 12}", "-")) for n, stem in enumerate(said)]
    facts = near_duplicates([f"{question.stem} {question.options[0]}" for question in asked])
    assert facts[:12] == facts[12:]
    assert all(facts)
    other = near_duplicates(["Which of these is true? Lakes freeze from above in winter", "Which of these is true? Iron rusts"])
    assert other == ["", ""]


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=7).map(" ".join), max_size=12))
def test_near_duplicates_are_those_of_all_pairs(texts):
    """Against the definition: Jaccard indices of all pairs, then connected components."""

    def shingles(text):
        words = text.split()
        return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))} if words else set()

    def alike(a, b):
        return bool(a & b) and len(a & b) / len(a | b) >= 0.5

    reach = {n: {n} for n in range(len(texts))}
    for n in range(len(texts)):
        for k in range(n):
            if alike(shingles(texts[n]), shingles(texts[k])):
                merged = reach[n] | reach[k]
                for member in merged:
                    reach[member] = merged
    facts = near_duplicates(texts)
    for n, fact in enumerate(facts):
        assert bool(fact) == (len(reach[n]) > 1)
        if fact:
            assert {k for k in range(len(texts)) if facts[k] == fact} >= reach[n]


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
