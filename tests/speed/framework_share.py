"""What share of a fit's wall time is neither loss nor backward nor optimizer.

python framework_share.py MODEL_FOLDER
RMU on SmolLM2 with the sandbox's corpora, through the very function that a comparison trains with.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from figures import peak_bytes

from unlearnbench.execution import fit as training
from unlearnbench.execution.context import job_context
from unlearnbench.execution.reporter import Silent
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.recipe_files import parse_recipe
from unlearnbench.planning.request import Request
from unlearnbench.system.files import default_cache
from unlearnbench_methods import rmu

RECIPE = """
model: {model}
dtype: float32
topics: {{bio: {{forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}}}
benchmarks: {{wmdp: {{source: "sandbox:wmdp"}}}}
methods: {{rmu: {{layer: 7, coefficient: 200, alpha: 100, steps: 40, batch_size: 4, max_length: 128}}}}
"""


class Hook:
    """No extensions."""

    def unlearnbench_trainer_callbacks(self, job: object) -> list[object]:
        return []


def main(model: str) -> None:
    spent = {"compute": 0.0, "closure": 0.0}

    def timed(function, name: str):
        def run(*arguments, **options):
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return run

    step = rmu.ReferenceAdamW.step

    def stepped(self, closure=None):
        """The optimizer's own time: without the closure, in which Lightning runs loss and backward."""
        started, before = time.perf_counter(), spent["closure"]
        result = step(self, timed(closure, "closure") if closure else None)
        spent["compute"] += time.perf_counter() - started - (spent["closure"] - before)
        return result

    rmu.RMU.training_step = timed(rmu.RMU.training_step, "compute")
    rmu.RMU.backward = timed(rmu.RMU.backward, "compute")
    rmu.ReferenceAdamW.step = stepped
    with tempfile.TemporaryDirectory() as folder:
        recipe = parse_recipe(RECIPE.format(model=model), "speed", "speed")
        comparison = prepare(Request(recipe=recipe, out=Path(folder), cache=default_cache(), device="cpu"))
        plan = next(plan for plan in comparison.jobs if plan.job.variant == "rmu")
        loaded = LoadedModel(model, "float32", job_context(comparison, Silent(), Hook()).device)
        fitted = training.fit(plan, loaded, job_context(comparison, Silent(), Hook()))
    total = fitted.cost.unlearn_seconds
    print(json.dumps({"share": 1 - spent["compute"] / total, "seconds": total, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1])
