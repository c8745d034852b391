"""Find the sandbox's settings of the roster's gradient methods: four trials each, on ten questions of each part.

    python -m examples.sandbox_search.roster OUT [METHOD ...]

The questions with an even position choose, the others report, as in search.py. Every method has the same budget.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.sandbox_search.search import half
from examples.settings import Trials, grid, rows_of, run, table
from unlearnbench.recipe import load_recipe

QUESTIONS = 10  # of each part
BUDGET = {"steps": 60, "batch_size": 8, "max_length": 160, "accumulate": 1}
RATES = [3e-4, 1e-3]
TRIALS: Trials = {
    "grad-ascent": grid(BUDGET, lr=[3e-5, 1e-4, 2e-4, 3e-4]),
    "grad-diff": grid(BUDGET, lr=RATES, retain_weight=[1.0, 5.0]),
    "simnpo": grid({**BUDGET, "forget_weight": 1.0}, lr=RATES, beta=[0.5, 2.5]),
    "wga": grid(BUDGET, lr=RATES, beta=[0.1, 1.0]),
    "satimp": grid({**BUDGET, "forget_weight": 1.0}, lr=RATES, beta2=[0.1, 1.0]),
    "ce-u": grid(BUDGET, lr=[3e-5, 1e-4], skip=[0, 1]),
    "pdu": grid({**BUDGET, "dual_warmup": 30, "multiplier": 50.0}, lr=RATES, slack=[0.1, 0.5]),
    "task-vector": grid(BUDGET, lr=[1e-4, 3e-4], scale=[1.0, 4.0]),
    "fine-tune-retain": grid(BUDGET, lr=[1e-4, 3e-4, 1e-3, 2e-3]),
    "npo": grid(BUDGET, lr=RATES, beta=[0.1, 0.5]),
    "dpo": grid(BUDGET, lr=RATES, winner=["idk", "alternative"]),
    "altpo": grid(BUDGET, lr=RATES, beta=[0.1, 0.5]),
    "undial": grid({**BUDGET, "retain_weight": 1.0}, lr=RATES, beta=[10.0, 30.0]),
}


def main() -> None:
    """Run the trials of some methods, or of all, then print their table."""
    parser = argparse.ArgumentParser(description="Search the sandbox's settings of the roster's gradient methods.")
    parser.add_argument("out", type=Path, help="folder of the comparison")
    parser.add_argument("methods", nargs="*", default=[], help=f"of {', '.join(TRIALS)}; all if none is named")
    arguments = parser.parse_args()
    out: Path = arguments.out
    chosen = {name: own for name, own in TRIALS.items() if not arguments.methods or name in arguments.methods}
    recipe = load_recipe("sandbox")
    benchmarks = {name: recipe.benchmarks[name] for name in ("wmdp", "mmlu")}
    changes = {"name": "sandbox-roster", "methods": rows_of(chosen), "benchmarks": benchmarks, "limit": QUESTIONS}
    run(recipe.model_copy(update=changes), out)
    print(table(chosen, half(out, 0), half(out, 1)))


if __name__ == "__main__":
    main()
