"""`unlearnbench attack`: attacks on the rows of a comparison that is there; its own cells are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options
from unlearnbench.cli.compare import run as run_comparison
from unlearnbench.errors import Problems
from unlearnbench.execution.executors import listed
from unlearnbench.planning.limits import Limits


def attack(
    run: Annotated[Path, typer.Argument(help="Folder of the comparison.")],
    attacks: options.Attacks = "quick",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="ATTACK.OPTION=VALUE", help="An option of an attack; repeatable.")
    ] = None,
    device: options.DeviceName = "auto",
    executor: Annotated[str, typer.Option(help=f"How jobs are run: {listed(manners=False)}.")] = "local",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Isolated jobs that run at a time.")] = 1,
    job_timeout: options.JobTimeout = None,
    job_memory: options.JobMemory = None,
    cache: options.Cache = None,
    retry_failed: options.RetryFailed = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Attack the rows of a comparison: what it has is kept, and attacks are added to those that it has.

    A row whose weights were not kept is trained again first, which gives the same weights.
    """
    from unlearnbench.execution.place import Execution
    from unlearnbench.leaderboard.reading import last_settings
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.planning.settings import apply_settings
    from unlearnbench.runs.folder import RunFolder
    from unlearnbench.runs.reading import read_manifest
    from unlearnbench.verbs.recipes import with_attacks
    from unlearnbench.verbs.steps import place_of

    read_manifest(RunFolder(run))
    problems = Problems()
    recipe = load_recipe(str(run / "recipe.yaml"))
    added = with_attacks(recipe, attacks or "quick", problems)
    wanted = recipe.model_copy(update={"attacks": {**recipe.attacks, **added.attacks}})
    wanted = apply_settings(wanted, settings or (), problems)
    how = Execution(
        executor=executor,
        limits=problems.attempt(options.read_limits, jobs, job_timeout, job_memory) or Limits(),
        retry_failed=retry_failed,
        command=options.command_line(),
    )
    place = place_of(wanted, problems, out=run, cache=cache, device=device, how=how)
    run_comparison(wanted, place, problems, table=last_settings(run), dry_run=dry_run, as_json=as_json)
