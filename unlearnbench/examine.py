"""Try plugins in a process of their own before anything is planned: one that cannot even be loaded costs its own rows.

As `python -m unlearnbench.examine MODEL ROWS` it is that process: it imports the methods and builds them on the model's shape,
as the preflight of the parent will.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unlearnbench.errors import PluginError, UnlearnbenchError
from unlearnbench.files import Memory, content_hash
from unlearnbench.launch import Process, how_it_ended
from unlearnbench.plugins import Plugin, core_hash, find_plugin
from unlearnbench.recipe import Recipe

SECONDS = 120.0  # that one plugin may take to load and to be built


def unusable_rows(recipe: Recipe, cache: Path) -> dict[str, str]:
    """Rows whose method cannot be loaded, and why; mistakes in a recipe are left to its preflight.

    What was fine once is remembered with its source, and not tried again.
    """
    memory = Memory(cache / "memory.json")
    waiting: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for row, (method, given) in recipe.variants().items():
        try:
            source = find_plugin("method", method).source_hash
        except UnlearnbenchError:
            continue
        keys[row] = content_hash(["examined", source, core_hash(), given, recipe.model])
        if memory.get(keys[row]) is None:
            waiting[row] = [method, given]
    broken: dict[str, str] = {}
    while waiting:
        found = _examine(recipe.model, waiting)
        for row, reason in found.items():
            del waiting[row]
            if reason is None:
                memory.put(keys[row], True)
            else:
                broken[row] = reason
    return broken


def _examine(model: str, rows: Mapping[str, Any]) -> dict[str, str | None]:
    """What is wrong with rows, in order, up to the first that takes the process with it."""
    found: dict[str, str | None] = {}
    with Process(["unlearnbench.examine", model, json.dumps(rows)], Path(os.devnull)) as process:
        started = time.monotonic()
        while (said := process.read(started + SECONDS - time.monotonic())) is not None:
            for one in said:
                found[one["row"]] = one["reason"]
                started = time.monotonic()
            if time.monotonic() - started >= SECONDS:
                break
        hung = said is not None
        code = 0 if hung else process.wait()
    if len(found) < len(rows):
        row = next(name for name in rows if name not in found)
        end = f"it took longer than {SECONDS:g} seconds and was stopped" if hung else how_it_ended(code)
        found[row] = f"its method cannot be loaded: {end}"
    return found


def main() -> int:
    """Examine every row, saying what is wrong with each as it goes."""
    from unlearnbench.worker import Telling, end_with_parent

    *_, model, rows, _, pipe = sys.argv
    telling = Telling(int(pipe))
    end_with_parent()
    for row, (method, given) in json.loads(rows).items():
        telling.say("row", row=row, reason=_problem(find_plugin("method", method), given, model))
    return 0


def _problem(plugin: Plugin, given: Mapping[str, Any], model: str) -> str | None:
    from unlearnbench.models import model_folder, skeleton
    from unlearnbench.specs import resolve_options, split_budget

    try:
        spec = plugin.method
        options, training = split_budget(spec, resolve_options(spec, dict(given), plugin.info.name))
        if training is not None:
            spec.factory(skeleton(model_folder(model)), **options)
    except PluginError as error:
        return str(error)
    except (Exception, SystemExit):  # a mistake in the recipe, or a method that needs real weights to be built
        return None
    return None


if __name__ == "__main__":
    sys.exit(main())
