"""probe: whether a linear map reads from some block's state which option is right, on facts that it was not fitted on.

Source: linear probes, Alain and Bengio 2016, arXiv:1610.01644; on unlearned models in Li et al. 2024 (WMDP), arXiv:2403.03218;
    the control of permuted labels after Hewitt and Liang 2019, arXiv:1909.03368.
Deviations: ridge regression in closed form instead of gradient descent; `probe:option` reads each option's own state, at the
    last token of the prompt with that option, so that the letter tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt

from unlearnbench.api import (
    Attack,
    Attacked,
    AttackSpec,
    Benchmark,
    ItemResult,
    MultipleChoiceBenchmark,
    Options,
    Question,
    Subject,
    Victim,
    decoder_blocks,
    encode_prompts,
    hookimpl,
    unknown_name,
)

Floats = NDArray[np.float64]
PENALTIES = np.logspace(-4, 4, 12)  # of ridge regression, times the mean squared length of a state
FOLDS = 5
PERMUTATIONS = 5
MOST_BLOCKS = 16  # of deeper models every second one is read
TOKENS = 4096  # read at once, padding included
FORMS = ("letter", "option")


class Fitted(NamedTuple):
    """A probe.

    Attributes:
        block: number of the block whose states it reads.
        penalty: penalty of the regression, one of `PENALTIES`.
        accuracy: accuracy in cross-validation, by which both were chosen.
    """

    block: int
    penalty: float
    accuracy: float


class Probe(Attack):
    """A linear probe of the blocks' states; each half of the questions is answered by what was fitted on the other.

    Args:
        argument: state that is read: `letter`, where the answer is predicted, to tell which one it is; or `option`, behind each
            option, to tell whether it is right.
        most: number of questions that a probe is fitted on, at most.
    """

    axis = "block"
    cross_fitted = True

    def __init__(self, *, argument: str = "letter", most: PositiveInt = 256) -> None:
        if argument not in FORMS:
            raise unknown_name("form of probe", argument, FORMS, "It stands behind the colon, as in probe:option.")
        self._form, self._most = argument, most

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        yield Probed(victim, self._form, self._most)


class Probed(Attacked):
    """A model whose states a probe reads."""

    def __init__(self, victim: Victim, form: str, most: int) -> None:
        super().__init__()
        self._victim, self._form, self._most = victim, form, most

    def evaluate(self, benchmark: Benchmark, subject: Subject, name: str) -> list[ItemResult]:
        known, asked = spread(self._victim.questions[name], self._most), questions_of(benchmark)
        blocks, rng = read_blocks(subject.model), np.random.default_rng(self._victim.seed)
        fitted_on = self._states(subject, known, blocks)
        right = targets(known, self._form)
        probe = choose(fitted_on, right, known, blocks)
        fitted, [states] = fitted_on[blocks.index(probe.block)], self._states(subject, asked, [probe.block])
        [found] = predicted(fitted, right, states, [probe.penalty])
        drawn = [targets(permuted(known, rng), self._form) for _ in range(PERMUTATIONS)]
        chance = [accuracy(predicted(fitted, other, states, [probe.penalty])[0], asked) for other in drawn]
        self.figures = {
            "block": float(probe.block),
            "accuracy in cross-validation": probe.accuracy,
            "accuracy with permuted labels": float(np.mean(chance)),
        }
        subject.progress(len(asked))
        return [
            ItemResult(id=q.id, part=q.part, score=float(choice == q.answer), choice=choice, answer=q.answer)
            for q, choice in zip(asked, choices(found, asked), strict=True)
        ]

    def _states(self, subject: Subject, questions: Sequence[Question], blocks: Sequence[int]) -> list[Floats]:
        """Return each block's states of the questions: one row for a question, or one for each of its options."""
        texts = [text for question in questions for text in texts_of(question, self._form)]
        found = states_of(subject, texts, blocks)
        return [centred(states, questions) for states in found] if self._form == "option" else found


def questions_of(benchmark: Benchmark) -> Sequence[Question]:
    """Return the questions of a multiple-choice benchmark, the only kind that is supported."""
    assert isinstance(benchmark, MultipleChoiceBenchmark)
    return benchmark.questions


def texts_of(question: Question, form: str) -> list[str]:
    """Return the texts at whose last tokens the states of a question are read."""
    return [question.context] if form == "letter" else [f"{question.context}{option}" for option in question.continuations]


def spread(questions: Sequence[Question], most: int) -> list[Question]:
    """Return so many questions at most, evenly spread over all of them."""
    if len(questions) <= most:
        return list(questions)
    return [questions[place * len(questions) // most] for place in range(most)]


def read_blocks(model: torch.nn.Module) -> list[int]:
    """Return the numbers of the blocks that are read."""
    count = len(decoder_blocks(model)[1])
    return list(range(0, count, 1 if count <= MOST_BLOCKS else 2))


def states_of(subject: Subject, texts: Sequence[str], blocks: Sequence[int]) -> list[Floats]:
    """Return the output of each block at the last token of every text: (texts, D) each."""
    encoded = encode_prompts(list(texts), subject.tokenizer)
    order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place]))  # alike in length, so little padding
    found: list[list[Any]] = [[None] * len(encoded) for _ in blocks]
    seen: dict[int, torch.Tensor] = {}

    def keep(block: int) -> Any:
        def hook(module: object, arguments: object, output: Any) -> None:
            seen[block] = output[0] if isinstance(output, tuple) else output

        return hook

    modules = decoder_blocks(subject.model)[1]
    handles = [modules[block].register_forward_hook(keep(block)) for block in blocks]
    try:
        start = 0
        while start < len(order):
            width = max(len(encoded[order[start]]), 1)  # the longest of what follows
            places = order[start : start + max(TOKENS // width, 1)]
            ids = torch.zeros(len(places), width, dtype=torch.long)
            for row, place in enumerate(places):
                ids[row, : len(encoded[place])] = torch.tensor(encoded[place])
            ends = torch.tensor([len(encoded[place]) - 1 for place in places])
            mask = (torch.arange(width) <= ends[:, None]).long()
            device = subject.model.device
            subject.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
            for column, block in zip(found, blocks, strict=True):
                at_end = seen[block][torch.arange(len(places)), ends.to(device)].double().cpu().numpy()  # (B, D)
                for place, state in zip(places, at_end, strict=True):
                    column[place] = state
            start += len(places)
    finally:
        for handle in handles:
            handle.remove()
    return [np.stack(column) for column in found]


def centred(states: Floats, questions: Sequence[Question]) -> Floats:
    """Return the states less their mean over the options of each question: what is the same for all options tells nothing."""
    result = states.copy()
    start = 0
    for question in questions:
        rows = slice(start, start + len(question.continuations))
        result[rows] -= result[rows].mean(axis=0)
        start = rows.stop
    return result


def targets(questions: Sequence[Question], form: str) -> Floats:
    """Return 1 for what is right and 0 for what is not, less the mean over each question's options.

    Args:
        questions: the questions.
        form: `letter` or `option`.

    Returns:
        (questions, options) for letters, where a question with fewer options than others has zeros behind them; else (options
        in all,).
    """
    rows = [np.eye(len(q.continuations))[q.answer] - 1 / len(q.continuations) for q in questions]
    if form == "option":
        return np.concatenate(rows)
    most = max(map(len, rows))
    return np.stack([np.pad(row, (0, most - len(row))) for row in rows])


def permuted(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    """Return the questions with right options that are drawn anew."""
    return [replace(question, answer=int(rng.integers(len(question.continuations)))) for question in questions]


def predicted(states: Floats, right: Floats, asked: Floats, penalties: Sequence[float]) -> list[Floats]:
    """Return what ridge regression of the targets on the states predicts for other states, for each penalty.

    In its dual form: asked K' (K + p t I)^-1 right, with K the states' products and t their mean squared length.

    Args:
        states: (N, D), centred and scaled by each dimension's mean and deviation.
        right: (N,) or (N, K), targets.
        asked: (M, D), centred and scaled alike.
        penalties: penalties p.

    Returns:
        (M,) or (M, K) for each penalty.
    """
    middle, scale = states.mean(axis=0), states.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    known, other = (states - middle) / scale, (asked - middle) / scale
    values, vectors = np.linalg.eigh(known @ known.T)  # (N,), (N, N)
    size = max(float(values.mean()), np.finfo(np.float64).tiny)
    turned = vectors.T @ right.reshape(len(right), -1)  # (N, K)
    against = (other @ known.T) @ vectors  # (M, N)
    wholes = [np.maximum(values, 0)[:, None] + penalty * size for penalty in penalties]
    return [(against @ (turned / whole)).reshape(len(asked), *right.shape[1:]) for whole in wholes]


def choices(found: Floats, questions: Sequence[Question]) -> list[int]:
    """Return the option of each question with the highest prediction; of equals the first."""
    if found.ndim == 2:
        return [int(row[: len(q.continuations)].argmax()) for row, q in zip(found, questions, strict=True)]
    picked: list[int] = []
    start = 0
    for question in questions:
        picked.append(int(found[start : start + len(question.continuations)].argmax()))
        start += len(question.continuations)
    return picked


def accuracy(found: Floats, questions: Sequence[Question]) -> float:
    """Return the share of right choices."""
    return float(np.mean([pick == q.answer for pick, q in zip(choices(found, questions), questions, strict=True)]))


def choose(states: Sequence[Floats], right: Floats, questions: Sequence[Question], blocks: Sequence[int]) -> Fitted:
    """Return the block and penalty with the highest accuracy in cross-validation; questions on one fact are in one fold.

    Args:
        states: (N, D), for each block; as many rows for each question, in their order, as targets.
        right: (N,) or (N, K), targets.
        questions: questions that they belong to.
        blocks: numbers of the blocks.
    """
    facts = {name: number for number, name in enumerate(dict.fromkeys(q.fact or q.id for q in questions))}
    fold_of = np.array([facts[q.fact or q.id] % FOLDS for q in questions])
    options = fold_of if right.ndim == 2 else np.repeat(fold_of, [len(q.continuations) for q in questions])
    found: list[Fitted] = []
    for block, of_block in zip(blocks, states, strict=True):
        hits = np.zeros(len(PENALTIES))
        for fold in range(FOLDS):
            out = options == fold
            asked = [q for q, number in zip(questions, fold_of, strict=True) if number == fold]
            if not asked or out.all():
                continue
            for place, guess in enumerate(predicted(of_block[~out], right[~out], of_block[out], list(PENALTIES))):
                hits[place] += accuracy(guess, asked) * len(asked)
        best = int(hits.argmax())
        found.append(Fitted(block, float(PENALTIES[best]), float(hits[best]) / len(questions)))
    return max(found, key=lambda probe: probe.accuracy)


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [
        AttackSpec(
            name="probe",
            factory=Probe,
            summary="a linear probe of the blocks' states, fitted on one half of the questions, read on the other",
            source="Alain and Bengio 2016, arXiv:1610.01644; Li et al. 2024, arXiv:2403.03218",
            access="activations",
        )
    ]
