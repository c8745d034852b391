"""A trial of plugins in a separate process before anything is planned, so that one that cannot be loaded stops no other.

As `python -m unlearnbench.execution.plugin_trial MODEL TASKS` it is that process: it imports the plugins, builds the methods on
the model's shape and makes the benchmarks, as the preflight of the parent will.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from unlearnbench.errors import PluginError, Problems, UnlearnbenchError
from unlearnbench.execution.processes import Process, how_it_ended
from unlearnbench.planning.attacks import attack_of
from unlearnbench.planning.columns import plugin_of
from unlearnbench.planning.skeletons import Skeletons
from unlearnbench.plugins.fingerprint import package_hash
from unlearnbench.plugins.kinds import OfferedKind
from unlearnbench.plugins.options import untyped
from unlearnbench.plugins.registry import Plugin, describe, find_plugin
from unlearnbench.plugins.specs import MethodSpec
from unlearnbench.records.recipe import Recipe
from unlearnbench.system.files import JsonCache, content_hash
from unlearnbench.system.stop_signals import leave_to_parent

SECONDS = 120.0  # that one plugin may take to load and to be built


class Task(NamedTuple):
    """A plugin to try, with the row or column of the recipe that uses it."""

    kind: OfferedKind
    name: str  # of the row or column
    plugin: str
    given: dict[str, Any]


def examine(recipe: Recipe, cache: Path, problems: Problems) -> tuple[Recipe, dict[str, str]]:
    """Return the part of a recipe whose plugins load; mistakes in it are left to its preflight.

    What was fine once is remembered with its source, and not tried again.

    Args:
        recipe: recipe of the comparison.
        cache: folder of the user's cache, for plugins that loaded before.
        problems: problems, to which benchmarks and attacks that cannot be loaded are added: there is no table without its
            columns.

    Returns:
        the recipe without these benchmarks and attacks; and the rows whose method cannot be loaded, with the reason.

    Raises:
        UsageError: no benchmark can be loaded; all that was noted before is said, too.
    """
    rows = [Task("method", row, method, untyped(given)) for row, (method, given) in recipe.variants().items()]
    columns = [Task("benchmark", name, plugin_of(name, given), untyped(given)) for name, given in recipe.benchmarks.items()]
    attacks = [Task("attack", label, attack_of(label, given), untyped(given)) for label, given in recipe.attacks.items()]
    reasons = _try_all([*rows, *columns, *attacks], recipe.model, JsonCache(cache / "memory.json"))
    broken = {row: reason for row, reason in zip(recipe.variants(), reasons, strict=False) if reason is not None}
    behind = reasons[len(rows) :]
    lost = {name: reason for name, reason in zip(recipe.benchmarks, behind, strict=False) if reason is not None}
    unfit = {label: reason for label, reason in zip(recipe.attacks, behind[len(columns) :], strict=True) if reason is not None}
    for reason in unfit.values():
        problems.add(PluginError(reason))
    recipe = recipe.model_copy(update={"attacks": {n: o for n, o in recipe.attacks.items() if n not in unfit}})
    if lost:
        for reason in lost.values():
            problems.add(PluginError(reason))
        recipe = recipe.model_copy(update={"benchmarks": {n: o for n, o in recipe.benchmarks.items() if n not in lost}})
        if not recipe.benchmarks:
            problems.settle()
    return recipe, broken


def _try_all(tasks: Sequence[Task], model: str, memory: JsonCache) -> list[str | None]:
    """Return the error of each plugin or None, tried in as many processes as it takes."""
    reasons: list[str | None] = [None] * len(tasks)
    keys: dict[int, str] = {}
    for number, task in enumerate(tasks):
        try:
            source = find_plugin(task.kind, task.plugin).source_hash
        except UnlearnbenchError:
            continue
        key = content_hash(["examined", task.kind, task.plugin, source, package_hash(), task.given, model])
        if memory.get(key) is None:
            keys[number] = key
    with memory.written_once():
        while keys:
            found = _examine(model, {number: tasks[number] for number in keys})
            for number, reason in found.items():
                key = keys.pop(number)
                reasons[number] = reason
                if reason is None:
                    memory.put(key, True)
    return reasons


def _examine(model: str, tasks: Mapping[int, Task]) -> dict[int, str | None]:
    """Return the errors of plugins, in order, up to the first that takes the process with it."""
    found: dict[int, str | None] = {}
    with Process(["unlearnbench.execution.plugin_trial", model, json.dumps(list(tasks.values()))], Path(os.devnull)) as process:
        started = time.monotonic()
        while (messages := process.read(started + SECONDS - time.monotonic())) is not None:
            for message in messages:
                found[list(tasks)[len(found)]] = message["reason"]
                started = time.monotonic()
            if time.monotonic() - started >= SECONDS:
                break
        hung = messages is not None
        code = 0 if hung else process.wait()
    if len(found) < len(tasks):
        number = list(tasks)[len(found)]
        task = tasks[number]
        end = f"it took longer than {SECONDS:g} seconds and was stopped" if hung else how_it_ended(code)
        found[number] = f"{describe(find_plugin(task.kind, task.plugin).info)} cannot be loaded: {end}."
    return found


def main() -> int:
    """Try every plugin, reporting the error of each as it goes."""
    from unlearnbench.execution.messages import MessagePipe, end_with_parent

    leave_to_parent()
    *_, model, tasks, _, pipe = sys.argv
    parent = MessagePipe(int(pipe))
    end_with_parent()
    for task in json.loads(tasks):
        parent.say("plugin", reason=_problem(Task(*task), model))
    return 0


def _problem(task: Task, model: str) -> str | None:
    """Return a plugin's error; mistakes in the recipe do not count, nor methods that need real weights to be built."""
    try:
        _TRIALS[task.kind](task, model)
    except PluginError as error:
        return str(error)
    except (Exception, SystemExit):
        return None
    return None


@cache
def _method(name: str) -> Plugin[MethodSpec]:
    """Return a method, imported once for all rows that have it."""
    return find_plugin("method", name)


@cache
def _skeletons() -> Skeletons:
    """Return the models' shapes, built once for all rows."""
    return Skeletons()


def _build_method(task: Task, model: str) -> None:
    from unlearnbench.models.folders import model_folder
    from unlearnbench.plugins.options import resolve_options, split_budget

    spec = _method(task.plugin).spec
    options, training = split_budget(spec, resolve_options(spec, task.given, task.plugin))
    if training is not None:
        spec.factory(_skeletons().of(model_folder(model)), **options)


def _make_benchmark(task: Task, _model: str) -> None:
    from unlearnbench.planning.columns import plan_benchmark

    plan_benchmark(task.name, task.given, None)


def _make_attack(task: Task, _model: str) -> None:
    from unlearnbench.planning.attacks import make_attack

    make_attack(task.name, task.given)


_TRIALS: dict[OfferedKind, Callable[[Task, str], None]] = {
    "method": _build_method,
    "benchmark": _make_benchmark,
    "attack": _make_attack,
}


if __name__ == "__main__":
    sys.exit(main())
