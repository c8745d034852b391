"""`python -m unlearnbench.worker RUN VARIANT SEED`: train one job and leave its delta; for `launch`, not for users.

Lightning starts this module once more for each further process. What happens is said in JSON lines on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from unlearnbench.errors import UnlearnbenchError
from unlearnbench.job import unlearn_here, workshop
from unlearnbench.loaded import LoadedModel
from unlearnbench.plugins import load_extensions
from unlearnbench.preflight import prepare
from unlearnbench.recipe import load_recipe
from unlearnbench.records import CellResult, Job
from unlearnbench.training import rank_zero


class _Telling:
    """A `Reporter` that writes JSON lines."""

    def loading(self, job: Job) -> None: ...

    def unlearning(self, job: Job, steps: int) -> None:
        _say(kind="unlearning", steps=steps)

    def step(self, job: Job, loss: float | None) -> None:
        _say(kind="step", loss=loss)

    def scoring(self, job: Job, benchmark: str, items: int) -> None: ...

    def scored(self, job: Job, items: int) -> None: ...

    def finished(self, result: CellResult) -> None: ...

    def warn(self, line: str) -> None: ...


def main() -> int:
    """Train; 1 if that failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("variant")
    parser.add_argument("seed", type=int)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    wanted = parser.parse_args()
    try:
        recipe = load_recipe(str(wanted.run / "recipe.yaml"))
        comparison = prepare(recipe, out=wanted.run, cache=wanted.cache, device=wanted.device, checked=True)
        plan = next(p for p in comparison.jobs if (p.job.variant, p.job.seed) == (wanted.variant, wanted.seed))
        manager, _ = load_extensions()
        shop = workshop(comparison, _Telling(), manager.hook)
        unlearn_here(plan, LoadedModel(plan.variant.model, shop.dtype, shop.device), shop)
    except Exception as error:  # the parent turns it into failed cells
        reason = str(error).strip().splitlines() or ["no message"]
        name = "" if isinstance(error, UnlearnbenchError | FloatingPointError) else f"{type(error).__name__}: "
        _say(kind="error", reason=name + reason[0], diverged=isinstance(error, FloatingPointError))
        return 1
    return 0


def _say(**facts: Any) -> None:
    if rank_zero():
        print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
