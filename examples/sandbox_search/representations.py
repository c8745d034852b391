"""Find the sandbox's settings of the methods that work on representations: four trials each, on thirty questions of each part.

    python -m examples.sandbox_search.representations OUT [METHOD ...]

The questions with an even position choose, the others report, as in search.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.sandbox_search.search import half
from examples.settings import Trials, grid, rows_of, run, table
from unlearnbench.recipe import load_recipe

QUESTIONS = 30  # of each part
STEERING = {"lr": 1e-2, "steps": 150, "batch_size": 16, "max_length": 192}
TRIALS: Trials = {
    "adaptive-rmu": grid({"layer": 3, **STEERING}, scale=[5.0, 10.0], alpha=[1.0, 3.0]),
    "rr": grid(
        {"targets": [3], "steps": 150, "batch_size": 16, "max_length": 192}, lr=[1e-3, 5e-3], retain_weight=[0.1, 1.0]
    ),
}


def main() -> None:
    """Run the trials of some methods, or of all, then print their table."""
    parser = argparse.ArgumentParser(description="Search the sandbox's settings of methods that work on representations.")
    parser.add_argument("out", type=Path, help="folder of the comparison")
    parser.add_argument("methods", nargs="*", default=[], help=f"of {', '.join(TRIALS)}; all if none is named")
    arguments = parser.parse_args()
    out: Path = arguments.out
    chosen = {name: own for name, own in TRIALS.items() if not arguments.methods or name in arguments.methods}
    recipe = load_recipe("sandbox")
    benchmarks = {name: recipe.benchmarks[name] for name in ("wmdp", "mmlu")}
    changes = {"name": "sandbox-representations", "methods": rows_of(chosen), "benchmarks": benchmarks, "limit": QUESTIONS}
    run(recipe.model_copy(update=changes), out)
    print(table(chosen, half(out, 0), half(out, 1)))


if __name__ == "__main__":
    main()
