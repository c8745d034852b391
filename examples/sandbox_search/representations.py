"""Find the sandbox's settings of the methods that work on representations: four trials each, on ten questions of each part.

    python -m examples.sandbox_search.representations OUT [METHOD ...]

The questions with an even position choose, the others report, as in search.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.sandbox_search.search import half
from examples.settings import Trials, grid, rows_of, run, table
from unlearnbench.recipe import load_recipe

QUESTIONS = 10  # of each part
SMALL = {"batch_size": 4, "max_length": 96}
TRIALS: Trials = {
    "adaptive-rmu": grid({"layer": 3, "lr": 1e-2, "steps": 60, **SMALL}, scale=[5.0, 10.0], alpha=[1.0, 3.0]),
    "rr": grid({"targets": [3], "steps": 60, "batch_size": 8, "max_length": 128}, lr=[3e-3, 1e-2], retain_weight=[0.1, 1.0]),
    "elm": grid(
        {"layers": [3, 4, 5], "rank": 32, "continuations": 16, "continuation_tokens": 16, "steps": 36, **SMALL},
        lr=[2e-3, 6e-3],
        eta=[3.0, 1000.0],
    ),
    # an update of TAR costs about ten
    "tar": grid(
        {"lr": 1e-3, "warm_up": 0, "inner_steps": 4, "inner_every": 2, "adversary_rates": [1e-3], "steps": 24, **SMALL},
        mapping_steps=[0, 12],
        tamper_weight=[1.0, 4.0],
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
