"""The probe's regression and its choices, on states that are made up."""

from __future__ import annotations

import numpy as np
import pytest

from unlearnbench.api import Question
from unlearnbench_attacks.probe import PENALTIES, accuracy, centred, choices, choose, permuted, predicted, spread, targets

OPTIONS = 4


def questions(count: int, facts: int | None = None) -> list[Question]:
    return [
        Question(
            f"q/{n}",
            "q",
            "?",
            tuple(" ABCD"[1:]),
            int(np.random.default_rng(n).integers(OPTIONS)),
            fact=f"f{n % facts}" if facts else "",
        )
        for n in range(count)
    ]


def states(asked: list[Question], clear: float, width: int = 12, seed: int = 0) -> np.ndarray:
    """Noise, and in one direction how right the option is."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(99).standard_normal(width)
    right = np.concatenate([np.eye(OPTIONS)[question.answer] for question in asked])
    return rng.standard_normal((len(right), width)) + clear * right[:, None] * direction


def test_ridge_regression_is_that_of_the_normal_equations():
    known, asked = np.random.default_rng(0).standard_normal((30, 8)), np.random.default_rng(1).standard_normal((5, 8))
    right = np.random.default_rng(2).standard_normal(30)
    scale = known.std(axis=0)
    X, Z = (known - known.mean(axis=0)) / scale, (asked - known.mean(axis=0)) / scale
    size = (X**2).sum() / len(X)
    for penalty, found in zip(PENALTIES, predicted(known, right, asked, list(PENALTIES)), strict=True):
        w = np.linalg.solve(X.T @ X + penalty * size * np.eye(8), X.T @ right)
        assert found == pytest.approx(Z @ w, rel=1e-6, abs=1e-9)


def test_what_is_there_is_read_and_what_is_not_is_chance():
    known, asked = questions(120), [*questions(400)[200:]]
    for clear, low, high in ((3.0, 0.95, 1.0), (0.0, 0.15, 0.35)):
        fitted, other = centred(states(known, clear), known), centred(states(asked, clear, seed=1), asked)
        probe = choose([fitted], targets(known, "option"), known, [3])
        found = accuracy(predicted(fitted, targets(known, "option"), other, [probe.penalty])[0], asked)
        assert low <= found <= high
        assert probe.block == 3


def test_letters_are_told_where_they_are_predicted():
    """One state for each question, in which each letter has a direction of its own; some questions have fewer options."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((OPTIONS, 12))
    asked = [q if n % 3 else Question(q.id, q.part, q.context, ("A", "B"), q.answer % 2) for n, q in enumerate(questions(160))]
    known, other = asked[:100], asked[100:]
    own = rng.standard_normal((len(asked), 12)) + 2 * directions[[q.answer for q in asked]] + 5
    right = targets(known, "letter")
    assert right.shape == (100, OPTIONS)
    assert right.sum(axis=1) == pytest.approx(0)
    probe = choose([own[:100]], right, known, [0])
    found = predicted(own[:100], right, own[100:], [probe.penalty])[0]
    assert accuracy(found, other) > 0.9
    assert all(choice < len(q.continuations) for choice, q in zip(choices(found, other), other, strict=True))


def test_labels_that_are_permuted_are_chance():
    known, asked = questions(120), questions(400)[200:]
    fitted, other = centred(states(known, 3.0), known), centred(states(asked, 3.0, seed=1), asked)
    rng = np.random.default_rng(0)
    found = [accuracy(predicted(fitted, targets(permuted(known, rng), "option"), other, [1.0])[0], asked) for _ in range(8)]
    assert abs(np.mean(found) - 1 / OPTIONS) < 0.08


def test_the_block_that_knows_is_chosen():
    known = questions(80)
    own = [centred(states(known, clear, seed=place), known) for place, clear in enumerate((0.0, 2.0, 0.3))]
    assert choose(own, targets(known, "option"), known, [0, 2, 4]).block == 2


def test_a_fact_is_never_on_both_sides_of_a_fold():
    """What a fact's questions share reads perfectly where they are divided, and not at all where they are not."""
    known = questions(60, facts=10)
    rng = np.random.default_rng(0)
    of_fact = {f"f{n}": rng.standard_normal((OPTIONS, 40)) for n in range(10)}
    answers = {f"f{n}": n % OPTIONS for n in range(10)}
    asked = [Question(q.id, q.part, q.context, q.continuations, answers[q.fact], fact=q.fact) for q in known]
    own = centred(np.concatenate([of_fact[q.fact] for q in asked]), asked)
    assert accuracy(predicted(own, targets(asked, "option"), own, [PENALTIES[0]])[0], asked) == 1.0
    assert choose([own], targets(asked, "option"), asked, [0]).accuracy < 0.7


def test_constant_states_choose_the_first_option():
    known = questions(20)
    assert choices(np.zeros(len(known) * OPTIONS), known) == [0] * len(known)
    found = predicted(np.ones((8, 3)), np.ones(8), np.ones((4, 3)), [1.0])[0]
    assert np.isfinite(found).all()


def test_few_questions_are_spread_over_all():
    assert [q.id for q in spread(questions(10), 3)] == ["q/0", "q/3", "q/6"]
    assert len(spread(questions(3), 10)) == 3
