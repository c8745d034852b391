"""Compare unlearning methods for language models fairly.

The verbs are here, and are imported when they are first used:

    board = unlearnbench.compare("sandbox", methods=["rmu"])

Authors of plugins import `unlearnbench.api`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.errors import StorageError, UnlearnbenchError, UsageError
    from unlearnbench.execution.place import Execution
    from unlearnbench.planning.limits import Limits
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.records.recipe import Recipe, Topic
    from unlearnbench.records.retraining import Retraining
    from unlearnbench.results.run import Run, read_run
    from unlearnbench.results.search import Search
    from unlearnbench.tuning.search import Budget
    from unlearnbench.verbs.compare import compare
    from unlearnbench.verbs.evaluate import evaluate
    from unlearnbench.verbs.progress import PlainReporter
    from unlearnbench.verbs.retrain import retrain
    from unlearnbench.verbs.tune import tune

__version__ = "0.1.0"
__all__ = [
    "Budget",
    "Execution",
    "Limits",
    "PlainReporter",
    "Recipe",
    "Retraining",
    "Run",
    "Search",
    "StorageError",
    "Topic",
    "UnlearnbenchError",
    "UsageError",
    "__version__",
    "compare",
    "evaluate",
    "load_recipe",
    "read_run",
    "retrain",
    "tune",
]

_MODULE_OF = {
    "Budget": "tuning.search",
    "Execution": "execution.place",
    "Limits": "planning.limits",
    "PlainReporter": "verbs.progress",
    "Recipe": "records.recipe",
    "Retraining": "records.retraining",
    "Run": "results.run",
    "Search": "results.search",
    "StorageError": "errors",
    "Topic": "records.recipe",
    "UnlearnbenchError": "errors",
    "UsageError": "errors",
    "compare": "verbs.compare",
    "evaluate": "verbs.evaluate",
    "load_recipe": "planning.recipe_files",
    "read_run": "results.run",
    "retrain": "verbs.retrain",
    "tune": "verbs.tune",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'unlearnbench' has no '{name}'")
    return getattr(importlib.import_module(f"unlearnbench.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
