"""SmolLM2-135M as a judge: what it can be asked, and what holds after it was."""

from __future__ import annotations

import json
from pathlib import Path


def easy_prompts(file: Path) -> Path:
    """Judge prompts of which so small a model understands this much: a line that stands there often goes on."""
    line = "Rating: [[5]]\n"
    shown = {
        "one": line * 12 + "({question} {answer})\n" + line * 12,
        "two": line * 24 + "({question_1} {question_2} {answer_2})\n" + line * 24,
    }
    shown |= {f"{name}, reference": text.replace("({", "({ref_answer_1} {") for name, text in shown.items()}
    rows = [{"name": name, "type": "single", "system_prompt": "", "prompt_template": text} for name, text in shown.items()]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return file


def judgments(folder: Path) -> list[str]:
    """The kept judgments, a line each."""
    return [line for file in (folder / "cache" / "judgments").glob("*.jsonl") for line in file.read_text().splitlines()]


def check_judged(outcome, folder: Path, asked: int) -> None:
    """There are ratings, coverage adds up, what is missing is so for the judge's words alone, and only ratings are kept."""
    assert outcome.code == 0, outcome.err
    [file] = (folder / "run" / "cells" / "none" / "mt_bench").glob("*.json")
    cell = json.loads(file.read_text())
    assert cell["n"] >= 1, cell["missing"]
    assert cell["asked"] == asked
    assert cell["n"] + sum(cell["missing"].values()) == asked
    assert all(reason.startswith("no rating from 1 to 10 in 3 tries; it last said") for reason in cell["missing"])
    assert cell["status"] == "done"
    records = [json.loads(line) for line in judgments(folder)]
    assert len(records) == cell["n"]
    assert all(record["text"] and 1 <= record["rating"] <= 10 for record in records)
