"""Write the recipe of the comparison: forget ten authors with seven methods, with models that never knew them as the reference.

    python -m examples.tofu_authors.write_recipe WORK [--settings FILE] [--references N]

WORK is the folder that teach_authors.py wrote to. WORK/asked.jsonl has the questions at odd positions, 100 of each half, evenly
over the authors; those at even positions chose the settings. WORK/authors.yaml is the recipe.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from examples.tofu_authors import search
from unlearnbench.records.recipe import Recipe

ASKED = 100  # questions of each half
SEEDS = [0, 1, 2]


def main() -> None:
    """Write WORK/asked.jsonl and WORK/authors.yaml."""
    parser = argparse.ArgumentParser(description="Write the recipe of the comparison.")
    parser.add_argument("work", type=Path, help="folder with the taught models and the questions")
    default = Path(__file__).parent / "settings.yaml"
    parser.add_argument("--settings", type=Path, default=default, help="YAML: row -> options")
    parser.add_argument("--references", type=int, default=2, help="number of models that never knew: retrain-0, retrain-1, ...")
    arguments = parser.parse_args()
    work = arguments.work
    rows = [json.loads(line) for line in (work / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    search.write(work / "asked.jsonl", search.half(rows, 1, ASKED))
    methods = yaml.safe_load(arguments.settings.read_text(encoding="utf-8"))
    (work / "authors.yaml").write_text(comparison(work, methods, arguments.references).to_yaml(), encoding="utf-8")


def comparison(work: Path, methods: dict[str, dict[str, Any]], references: int) -> Recipe:
    """The recipe; its reference is every model that was taught only the kept authors."""
    names = [f"retrain-{seed}" for seed in range(references)]
    checkpoints = {"untaught": str(work / "smollm2"), **{name: str(work / name) for name in names}}
    tuned = {
        method: f"tuned {len(search.TRIALS[method])}"
        for method, options in methods.items()
        if options in search.TRIALS.get(method, ())
    }
    added = {"name": "tofu-authors", "checkpoints": checkpoints, "reference": names, "seeds": SEEDS, "tuned": tuned}
    return search.recipe(work, work / "asked.jsonl", methods).model_copy(update=added)


if __name__ == "__main__":
    main()
