"""Compare methods: from a recipe to a finished comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from unlearnbench.errors import Problems
from unlearnbench.verbs.recipes import (
    DEFAULT_RECIPE,
    Names,
    base_recipe,
    options_in,
    with_attacks,
    with_benchmarks,
    with_changes,
    with_fixed,
    with_methods,
    with_reference,
)
from unlearnbench.verbs.steps import Folder, carry_out, place_of

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from unlearnbench.execution.place import Execution
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.recipe_files import RecipeLike
    from unlearnbench.planning.request import Device
    from unlearnbench.records.cells import Job
    from unlearnbench.results.run import Run
    from unlearnbench.tuning.search import Budget


def compare(
    recipe: RecipeLike = DEFAULT_RECIPE,
    *,
    methods: Names | None = None,
    benchmarks: Names | None = None,
    attacks: Names | None = None,
    seeds: Iterable[int] | None = None,
    limit: int | None = None,
    model: str | None = None,
    reference: str | Iterable[str] | None = None,
    tune: Budget | None = None,
    rank_by: str | None = None,
    damage_margin: float | None = None,
    out: Folder | None = None,
    cache: Folder | None = None,
    device: Device = "auto",
    execution: Execution | None = None,
    loggers: Callable[[Job], Sequence[Logger]] | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Make a model forget with each method, score what it forgot and kept, and return the comparison.

    The same call again goes on where the last one stopped; cells that are there are not computed again. What fails costs its
    row, which the leaderboard says.

    Args:
        recipe: a shipped recipe's name, the path of a YAML file, a mapping with the same keys, or a `Recipe`.
        methods: rows of the table, instead of the recipe's: names, or a mapping from a name to options beside the recipe's.
        benchmarks: benchmarks to score with, instead of the recipe's: names, or a mapping from a name to options beside the
            recipe's.
        attacks: attacks on every row, instead of the recipe's: names, or a mapping from a name to options beside the recipe's;
            `quick` and `standard` are groups of them.
        seeds: seeds; each trained row runs once per seed.
        limit: number of items scored in each part, from the first on; all by default.
        model: base model: a folder, a hub id or `sandbox:model`.
        reference: rows that never knew the topics, whose mean score is the ideal of forgetting, instead of the recipe's; `()`
            for chance.
        tune: budget of a search of every method's settings before the comparison; options in `methods` are not searched.
        rank_by: column that ranks go by: `score` (S, the default), `forget` (F), `keep` (K) or a benchmark's.
        damage_margin: share of the retain knowledge that a row may lose and still be called `forgot`; 0.05 by default.
        out: folder of the comparison; `runs/NAME` by default.
        cache: folder of scores that other comparisons may use again; the user's cache by default.
        device: device to compute on.
        execution: executor and limits, and the files that stay on disk.
        loggers: Lightning loggers of a job that trains, beside those of the recipe and of extensions.
        reporter: reporter of the progress; silent by default. `PlainReporter()` writes lines on standard error.

    Raises:
        UsageError: something cannot be done as asked, and all of it is said; nothing was computed or written.
        StorageError: the folder does not take what was computed.
    """
    from unlearnbench.execution.place import Execution
    from unlearnbench.leaderboard.reading import table_settings

    problems = Problems()
    wanted = with_reference(base_recipe(recipe, model), [reference] if isinstance(reference, str) else reference)
    wanted = wanted if methods is None else with_methods(wanted, methods, problems)
    wanted = wanted if benchmarks is None else with_benchmarks(wanted, benchmarks, problems)
    wanted = wanted if attacks is None else with_attacks(wanted, attacks, problems)
    wanted = problems.attempt(with_changes, wanted, seeds=seeds, limit=limit, model=model) or wanted
    wanted = wanted if tune is None else with_fixed(wanted, options_in(methods))
    table = problems.attempt(table_settings, rank_by, damage_margin)
    how = execution or Execution()
    how = replace(how, loggers=loggers or how.loggers)
    place = place_of(wanted, problems, out=out, cache=cache, device=device, how=how)
    return carry_out(wanted, place, table, reporter, tune=tune, problems=problems)
