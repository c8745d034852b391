"""What holds after a real judge was asked, whether or not it can rate."""

from __future__ import annotations

import json
from pathlib import Path


def judgments(folder: Path) -> list[str]:
    """The kept judgments, a line each."""
    return [line for file in (folder / "cache" / "judgments").glob("*.jsonl") for line in file.read_text().splitlines()]


def check_judged(outcome, folder: Path, asked: int) -> None:
    """Coverage adds up, what is missing is missing for the judge's words alone, and only ratings are kept."""
    [file] = (folder / "run" / "cells" / "none" / "mt_bench").glob("*.json")
    cell = json.loads(file.read_text())
    assert cell["asked"] == asked
    assert cell["n"] + sum(cell["missing"].values()) == asked
    assert all(reason.startswith("no rating from 1 to 10 in 3 tries; it last said") for reason in cell["missing"])
    assert outcome.code == (0 if cell["n"] else 1), outcome.err
    assert cell["status"] == ("done" if cell["n"] else "failed")
    records = [json.loads(line) for line in judgments(folder)]
    assert len(records) == cell["n"]
    assert all(record["text"] and 1 <= record["rating"] <= 10 for record in records)
