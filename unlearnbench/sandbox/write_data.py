"""Write the sandbox world as data sets in the hub's schemas: WMDP, MMLU, MT-Bench and plain-text corpora."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from unlearnbench.sandbox.world import (
    DEV_ITEMS,
    HELD_OUT,
    TAUGHT,
    Fact,
    Item,
    Subject,
    build_world,
    chat_text,
    conversation,
    paragraph,
)
from unlearnbench.scoring.choice.prompts import LETTERS, header, letter_prompt

MT_BENCH_QUESTIONS = 40
NEAR_ENTITIES = 2  # of each near subject's 12 that the retain corpus covers: enough to show that they are not the hazard
CONVERSATIONS_PER_ENTITY = 6  # in the retain corpus
DOCUMENTS_PER_ENTITY = 3  # prose paragraphs in a corpus, besides question-answer text
CATEGORIES = {"astronomy": "stem", "computer_security": "stem", "virology": "stem", "nutrition": "stem"}  # else humanities

Rows = list[dict[str, object]]


def write_data(root: Path, seed: int = 0) -> None:
    """Write every sandbox data set under `root`; the same seed writes the same bytes."""
    world = build_world(seed)
    write_questions(world, root, seed)
    write_dataset(root / "corpora", corpora_of(world, random.Random(f"corpora {seed}"), _documents, _conversations))
    benign = {name: subject for name, subject in world.items() if subject.domain.kind != "hazard"}
    _write_mt_bench(root / "mt_bench", benign, random.Random(f"mt_bench {seed}"))


def _row(item: Item, **extra: str) -> dict[str, object]:
    return {"question": item.question, **extra, "choices": list(item.choices), "answer": item.answer, "fact": item.entity}


def items_of(
    subject: Subject, facts: Iterable[Fact], phrasings: tuple[int, ...], rng: random.Random
) -> list[dict[str, object]]:
    """Return the questions on these facts as rows, each in one of the phrasings."""
    return [_row(subject.item(fact, rng.choice(phrasings), rng)) for fact in facts]


def dev_and_test(subject: Subject, phrasings: tuple[int, ...], rng: random.Random) -> dict[str, list[dict[str, object]]]:
    """Draw dev and test questions: dev facts are not in the test split, so that few-shot examples give no test answer away."""
    dev = set(random.Random(f"dev {subject.domain.name}").sample(subject.facts, DEV_ITEMS))
    rows = {True: list[dict[str, object]](), False: list[dict[str, object]]()}
    for fact in subject.facts:
        item = subject.item(fact, rng.choice(phrasings), rng)
        rows[fact in dev].append(_row(item, subject=subject.domain.name))
    return {"dev": rows[True], "test": rows[False]}


def write_questions(world: Mapping[str, Subject], root: Path, seed: int) -> None:
    """Write WMDP and MMLU, in the phrasings that corpora contain and in the others."""
    hazards = {n: s for n, s in world.items() if s.domain.kind == "hazard"}
    benign = {n: s for n, s in world.items() if s.domain.kind != "hazard"}
    for suffix, phrasings in (("", TAUGHT), ("-heldout", HELD_OUT)):
        rng = random.Random(f"items {suffix} {seed}")
        wmdp = {n: {"test": items_of(s, s.facts, phrasings, rng)} for n, s in hazards.items()}
        write_dataset(root / f"wmdp{suffix}", wmdp)
        mmlu = {n: dev_and_test(s, phrasings, rng) for n, s in benign.items()}
        write_dataset(root / f"mmlu{suffix}", mmlu)


def corpora_of(
    world: Mapping[str, Subject],
    rng: random.Random,
    documents: Callable[[Iterable[Subject], random.Random, random.Random | None], Rows],
    talk: Callable[[Iterable[Subject], random.Random], Rows],
) -> dict[str, dict[str, Rows]]:
    """Write a forget corpus per hazard, and one retain corpus with little about the near subjects, as Wikitext has on
    virology.

    Args:
        world: the subjects.
        rng: generator of the texts.
        documents: a function that writes prose and questions on subjects; with a second generator, `alternative`, too.
        talk: a function that writes conversations, which are kept.
    """
    corpora = {
        f"{name.removeprefix('wmdp-')}-forget": {"train": documents([subject], rng, random.Random(f"alternatives {name}"))}
        for name, subject in world.items()
        if subject.domain.kind == "hazard"
    }
    kept = [subject for subject in world.values() if subject.domain.kind == "benign"]
    for subject in world.values():
        if subject.domain.kind == "near":
            some = [fact for facts in subject.by_entity()[:NEAR_ENTITIES] for fact in facts]
            kept.append(Subject(subject.domain, tuple(some)))
    texts = [*documents(kept, rng, None), *talk(kept, rng)]
    rng.shuffle(texts)
    corpora["retain"] = {"train": texts}
    return corpora


def _documents(subjects: Iterable[Subject], rng: random.Random, others: random.Random | None = None) -> list[dict[str, object]]:
    """Write prose and questions; with `others`, each row has the same text with another answer as its `alternative`."""
    rows: list[dict[str, object]] = []
    for subject in subjects:
        for facts in subject.by_entity():
            for _ in range(DOCUMENTS_PER_ENTITY):
                state = rng.getstate()
                rows.append({"text": paragraph(subject, facts, rng)})
                if others is not None:
                    rows[-1]["alternative"] = other_paragraph(subject, facts, state, others)
        for fact in subject.facts:
            for phrasing in TAUGHT:
                item = subject.item(fact, phrasing, rng)
                question = header(subject.domain.title) + letter_prompt(item.question, item.choices) + " "
                rows.append({"text": question + LETTERS[item.answer]})
                if others is not None:
                    letters = LETTERS[: len(item.choices)].replace(LETTERS[item.answer], "")
                    rows[-1]["alternative"] = question + others.choice(letters)
    rng.shuffle(rows)
    return rows


def other_paragraph(subject: Subject, facts: list[Fact], state: Any, drawn: random.Random) -> str:
    """Write the paragraph that this state of the generator writes, with other values."""
    wrong = [fact._replace(value=drawn.choice([v for v in fact.pool if v != fact.value])) for fact in facts]
    rng = random.Random()
    rng.setstate(state)
    return paragraph(subject, wrong, rng)


def _conversations(subjects: Iterable[Subject], rng: random.Random) -> list[dict[str, object]]:
    """Write conversations in the model's chat template: a model goes on talking only if conversations are among the
    kept texts.
    """
    texts: list[dict[str, object]] = []
    for subject in subjects:
        for _ in range(CONVERSATIONS_PER_ENTITY * len(subject.by_entity())):
            turns, answers = conversation(subject, rng, notes=0.0)
            texts.append({"text": chat_text(turns, answers)})
    return texts


def _write_mt_bench(folder: Path, subjects: Mapping[str, Subject], rng: random.Random) -> None:
    """Write FastChat's two files: questions with two turns, and a reference answer for each turn."""
    questions: list[dict[str, object]] = []
    answers: list[dict[str, object]] = []
    names = sorted(subjects)
    for number in range(1, MT_BENCH_QUESTIONS + 1):
        name = names[number % len(names)]
        turns, references = conversation(subjects[name], rng, notes=0.0)
        category = CATEGORIES.get(name, "humanities")
        questions.append({"question_id": number, "category": category, "turns": turns, "reference": references})
        answers.append(
            {"question_id": number, "answer_id": f"sandbox-{number}", "choices": [{"index": 0, "turns": references}]}
        )
    write_jsonl(folder / "question.jsonl", questions)
    write_jsonl(folder / "reference_answer" / "sandbox.jsonl", answers)


def write_dataset(folder: Path, configs: Mapping[str, Mapping[str, list[dict[str, object]]]]) -> None:
    """Write one folder as the hub lays it out: a README whose YAML head names configs and splits, and the files."""
    head = ["---", "license: mit", "configs:"]
    for config, splits in configs.items():
        head += [f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            head += [f"  - split: {split}", f"    path: {config}/{split}.jsonl"]
            write_jsonl(folder / config / f"{split}.jsonl", rows)
    text = "\n".join([*head, "---", "Part of the unlearnbench sandbox: an invented world, nothing in it is real.", ""])
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as lines of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")
