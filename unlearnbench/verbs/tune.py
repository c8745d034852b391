"""Search every method's settings with one budget, or go on with a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.errors import Problems
from unlearnbench.verbs.recipes import (
    DEFAULT_RECIPE,
    Names,
    base_recipe,
    options_in,
    with_benchmarks,
    with_changes,
    with_fixed,
    with_methods,
)
from unlearnbench.verbs.steps import Folder, place_of, search

if TYPE_CHECKING:
    from unlearnbench.execution.place import Execution
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.recipe_files import RecipeLike
    from unlearnbench.planning.request import Device
    from unlearnbench.results.search import Search


def tune(
    recipe: RecipeLike = DEFAULT_RECIPE,
    *,
    trials: int | None = None,
    seconds: float | None = None,
    methods: Names | None = None,
    benchmarks: Names | None = None,
    limit: int | None = None,
    model: str | None = None,
    out: Folder | None = None,
    cache: Folder | None = None,
    device: Device = "auto",
    execution: Execution | None = None,
    reporter: Reporter | None = None,
) -> Search:
    """Search settings: the same number of trials for every method, chosen on one half of the questions.

    The same call goes on where the last one stopped; more trials add to what is there. `compare(search.recipe)` reports the
    chosen settings on the other half of the questions.

    Args:
        recipe: recipe: a shipped recipe's name, the path of a YAML file, a mapping with the same keys, or a `Recipe`; its key
            `tune` has the rule of choosing, and the options that are searched.
        trials: number of trials of every method's settings.
        seconds: seconds of unlearning and scoring for every method, instead of or beside `trials`.
        methods: rows to tune, instead of the recipe's: names, or a mapping from a name to options, which are not searched.
        benchmarks: benchmarks to score with, instead of the recipe's: names, or a mapping from a name to options.
        limit: number of items scored in each part, from the first on; all by default.
        model: base model: a folder, a hub id or `sandbox:model`.
        out: folder of the comparison, in which the search has a folder; `runs/NAME` by default.
        cache: folder of scores that other comparisons may use again; the user's cache by default.
        device: device to compute on.
        execution: executor and limits.
        reporter: reporter of the progress; silent by default.

    Raises:
        UsageError: something cannot be done as asked, and all of it is said; nothing was computed or written.
        StorageError: the folder does not take what was computed.
    """
    from unlearnbench.execution.place import Execution
    from unlearnbench.tuning.search import Budget

    problems = Problems()
    wanted = base_recipe(recipe, model)
    wanted = wanted if methods is None else with_methods(wanted, methods, problems)
    wanted = wanted if benchmarks is None else with_benchmarks(wanted, benchmarks, problems)
    wanted = problems.attempt(with_changes, wanted, limit=limit, model=model) or wanted
    place = place_of(wanted, problems, out=out, cache=cache, device=device, how=execution or Execution())
    budget = problems.attempt(Budget, trials=trials, seconds=seconds)
    problems.settle()
    assert budget is not None
    return search(with_fixed(wanted, options_in(methods)), budget, place, reporter)
