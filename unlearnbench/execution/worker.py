"""`python -m unlearnbench.execution.worker ORDER`: one job in a separate process; for `processes`, not for users.

An order that names cells is for the whole job, one that names none for the delta alone; then Lightning starts this module once
more for each further process. What happens is said in JSON lines on the descriptor given by `--tell`.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from dataclasses import replace

from unlearnbench.errors import CellError, StorageError, UnlearnbenchError, one_line
from unlearnbench.execution.context import JobContext, job_context
from unlearnbench.execution.distributed import rank_zero
from unlearnbench.execution.executors import local
from unlearnbench.execution.job import unlearn_here
from unlearnbench.execution.messages import MessagePipe, end_with_parent
from unlearnbench.execution.orders import JobOrder
from unlearnbench.execution.queue import Queue
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.plan import JobPlan
from unlearnbench.planning.preflight import plan_only
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request
from unlearnbench.planning.settings import one_row
from unlearnbench.plugins.registry import load_extensions
from unlearnbench.system.stop_signals import leave_to_parent

RANK_ZERO_SECONDS = 20.0


def main() -> int:
    """Run the job; return 1 if it failed as a whole."""
    leave_to_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("order", type=JobOrder.model_validate_json)
    parser.add_argument("--tell", type=int, required=True)
    wanted = parser.parse_args()
    parent = MessagePipe(wanted.tell if rank_zero() else None)
    faulthandler.enable()
    if rank_zero():
        end_with_parent()
    try:
        carry_out(wanted.order, parent)
    except (Exception, SystemExit) as error:  # the parent turns it into failed cells
        kinds = {FloatingPointError: "diverged", StorageError: "storage"}
        kind = next((word for error_type, word in kinds.items() if isinstance(error, error_type)), "failed")
        name = "" if isinstance(error, UnlearnbenchError | FloatingPointError) else f"{type(error).__name__}: "
        parent.say("error", type=kind, reason=name + one_line(error))
        if not rank_zero():
            time.sleep(RANK_ZERO_SECONDS)  # Lightning kills the first process, which has to say why, once another has failed
        return 1
    return 0


def carry_out(order: JobOrder, parent: MessagePipe) -> None:
    """Carry out the order: the cells that are owed, each durable before it is reported; or the delta alone."""
    plan, context = _plan(order, parent)
    if plan.due:
        for result in local.execute(Queue([plan], context.run), context, Limits()):
            parent.finished(result)
    else:
        unlearn_here(plan, LoadedModel(plan.variant.model, context.dtype, context.device), context)


def _plan(order: JobOrder, parent: MessagePipe) -> tuple[JobPlan, JobContext]:
    """Plan the one job as the parent did: from the recipe in the run folder.

    Raises:
        CellError: the plan came out otherwise, so that a result would be kept under the wrong name.
    """
    recipe = one_row(load_recipe(str(order.run / "recipe.yaml")), order.variant, order.seed, order.cells)
    comparison = plan_only(Request(recipe=recipe, out=order.run, cache=order.cache, device=order.device))
    plan = next(p for p in comparison.jobs if (p.job.variant, p.job.seed) == (order.variant, order.seed))
    cells = {name: plan.cells.get(name) for name in order.cells}
    if plan.job.identity != order.identity or cells != order.cells:
        raise CellError("its source, data or settings changed after the comparison began; run the same command again")
    manager, _ = load_extensions()
    return replace(plan, due=tuple(order.cells)), job_context(comparison, parent, manager.hook)


if __name__ == "__main__":
    sys.exit(main())
