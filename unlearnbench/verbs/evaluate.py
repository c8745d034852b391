"""Score one model, without unlearning anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.errors import Problems
from unlearnbench.verbs.recipes import Names, evaluation, with_changes
from unlearnbench.verbs.steps import Folder, carry_out, place_of

if TYPE_CHECKING:
    from unlearnbench.execution.place import Execution
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.request import Device
    from unlearnbench.results.run import Run


def evaluate(
    model: str,
    benchmarks: Names,
    *,
    limit: int | None = None,
    out: Folder | None = None,
    cache: Folder | None = None,
    device: Device = "auto",
    execution: Execution | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Score a model with the benchmarks, and return the same result as a comparison of it alone.

    Args:
        model: model to score: a folder, a hub id or `sandbox:model`.
        benchmarks: benchmarks to score with: names, or a mapping from a name to options.
        limit: number of items scored in each part, from the first on; all by default.
        out: folder of the files; `runs/evaluate-MODEL` by default.
        cache: folder of scores that other comparisons may use again; the user's cache by default.
        device: device to compute on.
        execution: executor and limits.
        reporter: reporter of the progress; silent by default.

    Raises:
        UsageError: something cannot be done as asked, and all of it is said; nothing was computed or written.
        StorageError: the folder does not take what was computed.
    """
    from unlearnbench.execution.place import Execution
    from unlearnbench.records.recipe import check_names

    problems = Problems()
    recipe = evaluation(model, benchmarks, problems)
    problems.attempt(check_names, recipe)
    recipe = problems.attempt(with_changes, recipe, limit=limit) or recipe
    how = execution or Execution(keep_deltas="none")
    place = place_of(recipe, problems, out=out, cache=cache, device=device, how=how)
    return carry_out(recipe, place, reporter=reporter, problems=problems)
