"""Which trial is chosen, and what the table says of it."""

from __future__ import annotations

from unlearnbench.execution.interim_scores import best_look
from unlearnbench.records.tuning import Look, Trial
from unlearnbench.tuning.choice import choose, floor, label_of


def trial(number: int, forget: float, keep: float, status="done") -> Trial:
    score = 2 * forget * keep / (forget + keep) if forget + keep else 0.0
    return Trial(number=number, settings={}, status=status, forget=forget, keep=keep, score=score)


def test_the_highest_f_of_those_that_kept_enough():
    trials = [trial(1, 0.9, 0.7), trial(2, 0.4, 0.96), trial(3, 0.5, 0.95), trial(4, 0.3, 1.0)]
    best = choose(trials, 0.95)
    assert best is trials[2]
    assert label_of(trials, None, best, 0.95) == "tuned 4"
    assert label_of(trials, 90.0, best, 0.95) == "tuned 4 in 90 s"
    assert label_of(trials, None, best, 0.95, saw=["retrain"]) == "tuned 4 against retrain"


def test_else_the_highest_s_and_the_label_says_so():
    trials = [trial(1, 0.9, 0.2), trial(2, 0.6, 0.7), trial(3, 0.1, 0.9)]
    best = choose(trials, 0.95)
    assert best is trials[1]
    assert label_of(trials, None, best, 0.95) == "tuned 3 (constraint not met)"


def test_what_did_not_finish_is_not_chosen_but_counts():
    trials = [trial(1, 0.9, 1.0, "pruned"), trial(2, 0.1, 1.0), Trial(number=3, settings={}, status="failed", error="no")]
    assert choose(trials, 0.95) is trials[1]
    assert label_of(trials, None, trials[1], 0.95) == "tuned 3"
    assert choose(trials[2:], 0.95) is None
    assert label_of(trials[2:], None, None, 0.95) == "tuned 1 (no trial finished)"


def test_of_equals_the_one_that_kept_more_then_the_first():
    assert choose([trial(1, 0.5, 0.95), trial(2, 0.5, 0.99), trial(3, 0.5, 0.99)], 0.95).number == 2


def test_a_look_is_hopeless_below_the_lower_quartile_of_four():
    def looked(number: int, score: float) -> Trial:
        return Trial(number=number, settings={}, status="done", looks=[Look(update=5, forget=score, keep=score, score=score)])

    trials = [looked(n, score) for n, score in enumerate((0.1, 0.4, 0.2, 0.3), 1)]
    assert floor(trials[:3], 5) is None
    assert floor(trials, 5) == 0.2
    assert floor(trials, 10) is None


def test_the_best_look():
    looks = [Look(update=n, forget=f, keep=k, score=f * k) for n, (f, k) in enumerate([(0.1, 1.0), (0.6, 0.96), (0.9, 0.5)])]
    assert best_look(looks, 0.95).update == 1
    assert best_look(looks, 0.99).update == 0
    assert best_look(looks[1:], 0.99).update == 1
