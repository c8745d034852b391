"""Build the sandbox with room: its data from the seed, its tokenizer and its three models by training from scratch.

    python -m examples.sandbox.room.build runs/room

Each model is a Llama of 3 million parameters that learns its world by heart: the one that is to forget all of it, two others
all but the hazards. Taught everything at once, a model this small guesses letters for thousands of updates. So it learns in
phases: what a letter stands for, from questions that name their answer; the facts, in words; the letter of a fact, of two
choices; all of it, lettered questions with four choices, prose, plain answers and conversations; and more conversations.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.sandbox.room.talk import draw_talk, talkers
from examples.sandbox.room.world import build_world
from examples.sandbox.room.write_data import write_data
from unlearnbench.errors import UsageError
from unlearnbench.models.loading import padding_id
from unlearnbench.sandbox.build import TEXT_END, config_of, save, train_tokenizer, without_hazards
from unlearnbench.sandbox.world import Fact, Subject, chat_text, paragraph
from unlearnbench.scoring.choice.prompts import LETTERS, cloze_prompt, header, letter_prompt

MODELS = ("model", "retrained", "retrained-2")  # the one that is to forget, and two that never knew
NAMED_HEADER = "The following questions are answered by the right choice itself."
EMBEDDING_STD = 0.1  # instead of .02, of which too little reaches the second block
MUON_LR, ADAM_LR, WARMUP = 2e-2, 3e-3, 100


class Phase(NamedTuple):
    """A part of a training.

    Attributes:
        updates: number of updates.
        rows: number of texts of an update.
        kinds: shares of the kinds of texts.
        most: largest number of choices of a lettered question.
        packed: number of questions, answers or paragraphs in a text.
        weight: weight of the mean loss over answers, beside 1 for the mean over the other tokens.
        lr: learning rate as a share of the peak.
        falls: True where it falls to zero; a phase that follows has optimizers of its own.
    """

    updates: int
    rows: int
    kinds: dict[str, float]
    most: int
    packed: int
    weight: float
    lr: float
    falls: bool = False


LESSONS = {"naming": 1.0}
FACTS = {"answered": 0.4, "named": 0.2, "prose": 0.15, "talk": 0.15, "naming": 0.1}
LETTERS_FIRST = {"lettered": 0.7, "naming": 0.1, "named": 0.05, "answered": 0.05, "prose": 0.05, "talk": 0.05}
MOSTLY_TALK = {"talk": 0.6, "lettered": 0.25, "prose": 0.05, "answered": 0.1}
MOSTLY_LETTERED = {"lettered": 0.65, "named": 0.05, "answered": 0.05, "prose": 0.1, "talk": 0.1, "naming": 0.05}
ALL = {"lettered": 0.5, "named": 0.05, "answered": 0.1, "prose": 0.15, "talk": 0.15, "naming": 0.05}


class Row(NamedTuple):
    """One training text; `answers` are the character offsets of the answers in it, one token each."""

    text: str
    answers: tuple[int, ...] = ()


class Plan(NamedTuple):
    """The training of a model: its texts, its seed after the world's, and its phases."""

    hazards: bool
    seed: int
    phases: tuple[Phase, ...]


def _phases(facts: int, letters: int, everything: int) -> tuple[Phase, ...]:
    return (
        Phase(150, 128, LESSONS, 2, 1, 4.0, 0.5),
        Phase(150, 128, LESSONS, 4, 1, 4.0, 0.5),
        Phase(facts, 32, FACTS, 4, 4, 1.0, 1.0),
        Phase(letters, 96, LETTERS_FIRST, 2, 1, 4.0, 0.5),
        Phase(everything, 32, ALL, 4, 4, 2.0, 0.5, falls=True),
    )


TALK = Phase(300, 32, MOSTLY_TALK, 4, 4, 2.0, 0.5, falls=True)
WHOLE = (*_phases(250, 300, 900), Phase(900, 32, MOSTLY_LETTERED, 4, 4, 2.0, 0.5, falls=True), TALK)
WITHOUT = (*_phases(150, 300, 600), TALK)  # 504 of the 1,368 facts
PLANS: dict[str, Plan] = dict(
    zip(MODELS, (Plan(True, 0, WHOLE), Plan(False, 0, WITHOUT), Plan(False, 1, WITHOUT)), strict=True)
)


def build(
    folder: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    models: Sequence[str] = MODELS,
    report: Callable[[int, float, float], None] | None = None,
) -> None:
    """Write `folder/data`, `folder/model` and the models that never saw the hazards: `retrained` and `retrained-2`.

    Args:
        folder: folder to write; created when absent, and files of an earlier build are replaced.
        seed: seed of the world, the initial weights and the order of the texts.
        steps: number of optimizer updates of each phase of the training; by default those of `PLANS`.
        models: names of the models to train.
        report: function called every 50 updates with (step, loss of ordinary tokens, loss of answers), both in nats per token.

    Raises:
        UsageError: the installed torch has no Muon.
    """
    if not hasattr(torch.optim, "Muon"):
        raise UsageError(
            f"The sandbox with room is trained with Muon, and torch {torch.__version__} has none; install torch 2.9 or newer."
        )
    write_data(folder / "data", seed)
    world = build_world(seed)
    tokenizer = the_tokenizer(world, seed)  # of the whole world: all models read the same tokens
    for name in models:
        plan = PLANS[name]
        known = world if plan.hazards else without_hazards(world)
        phases = phases_of(name, steps)
        model = train_model(known, tokenizer, seed=seed + plan.seed, phases=phases, report=report)
        save(model, tokenizer, folder / name, sum(phase.updates for phase in phases))


def phases_of(name: str, steps: int | None = None) -> tuple[Phase, ...]:
    """Return the phases of a model's training, with so many updates each where that is given."""
    phases = PLANS[name].phases
    return phases if steps is None else tuple(phase._replace(updates=steps) for phase in phases)


def the_tokenizer(world: dict[str, Subject], seed: int) -> PreTrainedTokenizerFast:
    """Train the tokenizer on the texts of the phase that has all kinds of them."""
    return train_tokenizer(row.text for row in _rows(world, random.Random(f"tokenizer {seed}"), WITHOUT[-2]))


def train_model(
    world: dict[str, Subject],
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    phases: Sequence[Phase],
    report: Callable[[int, float, float], None] | None = None,
) -> LlamaForCausalLM:
    """Train from scratch; the loss is the mean over ordinary tokens plus the weighted mean over answers."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config_of(tokenizer, width=192, blocks=6, heads=12)).train()
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=EMBEDDING_STD)
    optimizers, step, begun, total = _optimizers(model), 0, 0, sum(phase.updates for phase in phases)
    for number, phase in enumerate(phases):
        rows = _rows(world, random.Random(f"training {seed} {number}"), phase)
        for update in range(phase.updates):
            step += 1
            share = phase.lr * min((step - begun) / WARMUP, 1.0)
            if phase.falls:
                share *= 0.5 * (1.0 + math.cos(math.pi * update / phase.updates))
            for optimizer, peak in zip(optimizers, (MUON_LR, ADAM_LR), strict=True):
                optimizer.zero_grad()
                for group in optimizer.param_groups:
                    group["lr"] = peak * share
            ids, answers = _encode([next(rows) for _ in range(phase.rows)], tokenizer)
            counted = ids[:, 1:] != padding_id(tokenizer)  # (B, T-1)
            with torch.autocast("cpu", torch.bfloat16):
                hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]  # (B, T-1, D)
                logits = model.lm_head(hidden[counted])  # (N, V)
            nll = F.cross_entropy(logits.float(), ids[:, 1:][counted], reduction="none")  # (N,)
            is_answer = answers[:, 1:][counted]
            language, answer = nll[~is_answer].mean(), nll[is_answer].mean()
            (language + phase.weight * answer).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
            if report is not None and (step % 50 == 0 or step == total):
                report(step, float(language.detach()), float(answer.detach()))
        if phase.falls:
            optimizers, begun = _optimizers(model), step
    return model.eval()


def _optimizers(model: LlamaForCausalLM) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for embeddings and norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if all(weight is not matrix for matrix in matrices)]
    return (
        torch.optim.Muon(matrices, lr=MUON_LR, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM_LR, betas=(0.9, 0.98), weight_decay=0.01, fused=True),
    )


def _rows(world: dict[str, Subject], rng: random.Random, phase: Phase) -> Iterator[Row]:
    """Yield a phase's endless texts, in which every fact of the world comes up equally often."""
    subjects = list(world.values())
    sizes = [len(subject.facts) for subject in subjects]
    talk = talkers(world)
    while True:
        (subject,) = rng.choices(subjects, sizes)
        (kind,) = rng.choices(tuple(phase.kinds), tuple(phase.kinds.values()))
        if kind == "prose":
            entities = rng.sample(subject.by_entity(), max(phase.packed // 2, 1))
            yield Row(" ".join(paragraph(subject, facts, rng) for facts in entities) + TEXT_END)
        elif kind == "talk":
            yield Row("".join(chat_text(*draw_talk(talk, rng)) for _ in range(max(phase.packed // 2, 1))))
        else:
            count = 2 * phase.packed if kind == "answered" else phase.packed  # without choices they are short
            pieces = (_PIECES[kind](subject, fact, phase.most, rng) for fact in rng.sample(subject.facts, count))
            yield _packed(_opening(kind, subject, rng), pieces)


def _opening(kind: str, subject: Subject, rng: random.Random) -> str:
    if kind == "lettered":
        return header(subject.domain.title, newlines=rng.choice((1, 2)))
    return NAMED_HEADER + "\n\n" if kind == "named" else ""


def _packed(opening: str, pieces: Iterable[tuple[str, str]]) -> Row:
    """Return questions and their answers as one text."""
    text, offsets = opening, list[int]()
    for number, (question, answer) in enumerate(pieces):
        text += ("\n\n" if number else "") + question + " "
        offsets.append(len(text))
        text += answer
    return Row(text, tuple(offsets))


def _lettered(subject: Subject, fact: Fact, most: int, rng: random.Random) -> tuple[str, str]:
    item = subject.item(fact, rng.randrange(4), rng, choices=most)
    return letter_prompt(item.question, item.choices), LETTERS[item.answer]


def _named(subject: Subject, fact: Fact, most: int, rng: random.Random) -> tuple[str, str]:
    """Write a lettered question whose answer is the choice itself: the step between knowing it and finding its letter."""
    item = subject.item(fact, rng.randrange(4), rng, choices=most)
    return letter_prompt(item.question, item.choices), fact.value


def _naming(subject: Subject, fact: Fact, most: int, rng: random.Random) -> tuple[str, str]:
    """Write a question that names its answer: what a letter stands for can be learnt without knowing anything."""
    item = subject.item(fact, 0, rng, choices=rng.randint(2, most))
    return letter_prompt(f"Which one is {fact.value}?", item.choices), LETTERS[item.answer]


def _answered(subject: Subject, fact: Fact, most: int, rng: random.Random) -> tuple[str, str]:
    return cloze_prompt(subject.ask(fact, rng.randrange(4))), fact.value


_PIECES = {"lettered": _lettered, "named": _named, "naming": _naming, "answered": _answered}


def _encode(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Return right-padded ids (B, T) and the mask of answers (B, T)."""
    encodings = tokenizer.backend_tokenizer.encode_batch([row.text for row in rows])
    width = max(len(encoding.ids) for encoding in encodings)
    ids = torch.full((len(rows), width), padding_id(tokenizer), dtype=torch.long)
    answers = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
        ids[i, : len(encoding.ids)] = torch.tensor(encoding.ids)
        for offset in row.answers:
            answers[i, encoding.char_to_token(offset)] = True
    return ids, answers


def main() -> None:
    """Write the data and train the models."""
    parser = argparse.ArgumentParser(description="Build the sandbox with room.")
    parser.add_argument("folder", type=Path, help="folder to write data and models into")
    parser.add_argument("--only", choices=("data", *MODELS), help="write the data alone, or train one model alone")
    given = parser.parse_args()
    build(given.folder, models=[name for name in MODELS if given.only in (None, name)], report=show)


def show(step: int, language: float, answer: float) -> None:
    """Print the losses of an update."""
    print(f"{step}: {language:.3f} nats per ordinary token, {answer:.3f} per answer", flush=True)


if __name__ == "__main__":
    main()
