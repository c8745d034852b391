"""Write the sandbox world as data sets in the hub's schemas: WMDP, MMLU, MT-Bench and plain-text corpora."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from examples.sandbox.room.talk import SKILLS, SUBJECTS, Conversation, draw_talk, talkers
from examples.sandbox.room.world import build_world
from unlearnbench.sandbox.world import TAUGHT, Subject, chat_text, paragraph
from unlearnbench.sandbox.write_data import corpora_of, other_paragraph, write_dataset, write_jsonl, write_questions
from unlearnbench.scoring.choice.prompts import LETTERS, header, letter_prompt

TALKS_PER_CATEGORY = 15  # of the four categories of mt_bench
DOCUMENTS_PER_ENTITY = 3  # prose paragraphs in a corpus, besides question-answer text
QUESTIONS_PER_DOCUMENT = 4  # behind one header, as in the training texts
PARAGRAPHS_PER_DOCUMENT = 2  # on two entities
TALK_DOCUMENTS, TALKS_PER_DOCUMENT = 180, 2  # conversations in the retain corpus


def write_data(root: Path, seed: int = 0) -> None:
    """Write every sandbox data set under `root`; the same seed writes the same bytes."""
    world = build_world(seed)
    write_questions(world, root, seed)
    corpora = corpora_of(world, random.Random(f"corpora {seed}"), _documents, lambda _, rng: _talk(world, rng))
    write_dataset(root / "corpora", corpora)
    _write_mt_bench(root / "mt_bench", world, random.Random(f"mt_bench {seed}"))


def _documents(subjects: Iterable[Subject], rng: random.Random, others: random.Random | None = None) -> list[dict[str, object]]:
    """Write prose and questions; with `others`, each row has the same text with another answer as its `alternative`."""
    pieces = [piece for subject in subjects for piece in (*_prose(subject, rng, others), *_questions(subject, rng, others))]
    rng.shuffle(pieces)
    columns = ("text",) if others is None else ("text", "alternative")
    return [dict(zip(columns, piece, strict=False)) for piece in pieces]


def _prose(subject: Subject, rng: random.Random, others: random.Random | None) -> Iterator[tuple[str, str]]:
    """Yield paragraphs on a few entities each, and the same with other values."""
    written: list[tuple[str, str]] = []
    for _ in range(DOCUMENTS_PER_ENTITY):
        for facts in rng.sample(subject.by_entity(), len(subject.by_entity())):
            state = rng.getstate()
            text = paragraph(subject, facts, rng)
            written.append((text, "" if others is None else other_paragraph(subject, facts, state, others)))
    yield from (_joined(some, " ") for some in _groups(written, PARAGRAPHS_PER_DOCUMENT))


def _questions(subject: Subject, rng: random.Random, others: random.Random | None) -> Iterator[tuple[str, str]]:
    """Yield lettered questions, a few behind one header, and the same with other letters."""
    opening = header(subject.domain.title)
    for phrasing in TAUGHT:
        written: list[tuple[str, str]] = []
        for fact in rng.sample(subject.facts, len(subject.facts)):
            item = subject.item(fact, phrasing, rng)
            question, right = letter_prompt(item.question, item.choices) + " ", LETTERS[item.answer]
            wrong = "" if others is None else others.choice(LETTERS[: len(item.choices)].replace(right, ""))
            written.append((question + right, question + wrong))
        for some in _groups(written, QUESTIONS_PER_DOCUMENT):
            text, alternative = _joined(some, "\n\n")
            yield opening + text, opening + alternative


def _groups(pieces: Sequence[tuple[str, str]], size: int) -> Iterator[Sequence[tuple[str, str]]]:
    return (pieces[i : i + size] for i in range(0, len(pieces), size))


def _joined(pieces: Iterable[tuple[str, str]], between: str) -> tuple[str, str]:
    texts, alternatives = zip(*pieces, strict=True)
    return between.join(texts), between.join(alternatives)


def _talk(world: Mapping[str, Subject], rng: random.Random) -> list[dict[str, object]]:
    """Write conversations in the model's chat template: a model goes on talking only if conversations are among the
    kept texts.
    """
    kinds = talkers(world)
    return [
        {"text": "".join(chat_text(*draw_talk(kinds, rng)) for _ in range(TALKS_PER_DOCUMENT))} for _ in range(TALK_DOCUMENTS)
    ]


def _write_mt_bench(folder: Path, world: Mapping[str, Subject], rng: random.Random) -> None:
    """Write FastChat's two files: questions with two turns, and a reference answer for each turn."""
    questions: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    kinds = talkers(world)
    for category in (*SUBJECTS, *SKILLS):
        for talk in _different(kinds[category], rng):
            number = len(questions) + 1
            questions.append({"question_id": number, "category": category, "turns": talk.turns, "reference": talk.answers})
            choices = [{"index": 0, "turns": talk.answers}]
            answers.append({"question_id": number, "answer_id": f"sandbox-{number}", "choices": choices})
    write_jsonl(folder / "question.jsonl", questions)
    write_jsonl(folder / "reference_answer" / "sandbox.jsonl", answers)


def _different(talks: Sequence[Callable[[random.Random], Conversation]], rng: random.Random) -> list[Conversation]:
    """Draw conversations of one category, none twice."""
    drawn: dict[tuple[str, ...], Conversation] = {}
    while len(drawn) < TALKS_PER_CATEGORY:
        talk = talks[len(drawn) % len(talks)](rng)
        drawn.setdefault(tuple(talk.turns), talk)
    return list(drawn.values())
