"""Search settings for forgetting ten authors: three trials for each of four methods, chosen on the questions at even positions.

    python -m examples.tofu_authors.search MODEL_AND_DATA OUT

MODEL_AND_DATA is the folder that teach_authors.py wrote. The questions are thinned to a number that one core can score in the
time, evenly over the authors; the ideal is chance. OUT/settings.yaml has the chosen ones. Those of settings.yaml here, which
run.sh compares on the questions at odd positions, were found so.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from examples.settings import Trials, best_of, rows_of, run, table
from unlearnbench.records.recipe import Recipe, Topic

CHOOSING = 30  # questions of each part
TRIALS: Trials = {
    "rmu": [
        {"layer": 7, "alpha": 10.0, "masked": True, "steps": 80, "batch_size": 8, "order": "shuffled", **options}
        for options in (
            {"coefficient": 200.0, "lr": 2e-3},
            {"coefficient": 200.0, "lr": 1e-3},
            {"coefficient": 300.0, "lr": 2e-3},
        )
    ],
    "llmu": [
        {"answers": 1, "steps": 16, "batch_size": 4, **options}
        for options in (
            {"lr": 1e-4, "normal_weight": 1.0},
            {"lr": 2e-4, "normal_weight": 1.0},
            {"lr": 4e-4, "normal_weight": 1.0},
        )
    ],
    "scrub": [
        {"alpha": 1.0, "gamma": 1.0, "temperature": 2.0, "forget_steps": 16, "steps": 24, "batch_size": 4, **options}
        for options in ({"lr": 2e-4}, {"lr": 4e-4}, {"lr": 8e-4})
    ],
    "ssd": [
        {"steps": 12, "batch_size": 8, **options}
        for options in (
            {"alpha": 5.0, "dampening": 0.1},
            {"alpha": 10.0, "dampening": 0.1},
            {"alpha": 20.0, "dampening": 0.01},
        )
    ],
}


def main() -> None:
    """Run every trial on the choosing questions, write the best settings and print the table."""
    parser = argparse.ArgumentParser(description="Search settings for forgetting ten authors.")
    parser.add_argument("source", type=Path, help="folder with model, forget.jsonl, retain.jsonl and questions.jsonl")
    parser.add_argument("out", type=Path, help="folder of the comparison")
    arguments = parser.parse_args()
    source, out = arguments.source, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (source / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    write(out / "choosing.jsonl", half(rows, 0, CHOOSING))
    trials = rows_of(TRIALS)
    board = run(recipe(source, out / "choosing.jsonl", trials), out)
    settings = {method: TRIALS[method][int(row.rpartition("-")[2]) - 1] for method, row in best_of(TRIALS, board).items()}
    (out / "settings.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    print(table(TRIALS, board))


def recipe(source: Path, questions: Path, methods: dict[str, dict[str, Any]]) -> Recipe:
    """Return the recipe: forget the authors of forget.jsonl, keep those of retain.jsonl, and ask the given questions."""
    topic = Topic(forget=str(source / "forget.jsonl"), retain=str(source / "retain.jsonl"))
    return Recipe(
        name="tofu-authors-search",
        model=str(source / "model"),
        dtype="float32",
        topics={"authors": topic},
        benchmarks={"mcq": {"source": str(questions), "scoring": "cloze"}},
        methods=methods,
    )


def half(rows: list[dict[str, Any]], rest: int, number: int) -> list[dict[str, Any]]:
    """Return of each part the questions whose position is `rest` modulo 2, evenly thinned to `number`."""
    kept: list[dict[str, Any]] = []
    for part in dict.fromkeys(row["part"] for row in rows):
        in_half = [row for row in rows if row["part"] == part][rest::2]
        kept += [in_half[place * len(in_half) // number] for place in range(min(number, len(in_half)))]
    return kept


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
