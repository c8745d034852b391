"""The same trial in another process, which shares nothing with this one but the plugin's file."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

from unlearnbench.errors import UsageError
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.plugins.specs import MethodSpec, Training
from unlearnbench.records.base import Options
from unlearnbench.testing.checks import CheckFailed, NotApplicable
from unlearnbench.testing.trial_fits import TrialFit, run_trial_fit, tensors_hash


@dataclass(frozen=True, kw_only=True)
class _Address:
    """The place where another process finds a spec: its factory in a module or file, or its entry point."""

    name: str
    module: str | None
    file: str | None
    qualname: str | None


def weights_elsewhere(spec: MethodSpec, trial: TrialFit, options: Options, training: Training) -> str:
    """Return the hash of the weights that a trial ends with in a fresh process, whose hash() is seeded otherwise.

    Raises:
        NotApplicable: the factory is not to be found from outside.
        CheckFailed: the trial does not end there.
    """
    address = _address(spec)
    with ProcessPoolExecutor(1, mp_context=_context(), max_tasks_per_child=1) as pool:
        problem, weights = pool.submit(_there, address, trial, options, training).result()
    if weights is None:
        raise CheckFailed(f"in another process it stops with {problem}; import all that it needs at the top of its module.")
    return weights


@functools.cache
def _context() -> BaseContext:
    """Return processes forked off a fresh interpreter that has only imported the framework; where there are none, fresh
    ones.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "20"
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
    return context


def _address(spec: MethodSpec) -> _Address:
    module, qualname = getattr(spec.factory, "__module__", None), getattr(spec.factory, "__qualname__", "")
    loaded = sys.modules.get(str(module))
    if loaded is not None and _resolve(loaded, qualname) is spec.factory:
        return _Address(name=spec.name, module=module, file=inspect.getsourcefile(loaded), qualname=qualname)
    try:
        if find_plugin("method", spec.name).spec.factory is spec.factory:
            return _Address(name=spec.name, module=None, file=None, qualname=None)
    except UsageError:
        pass
    raise NotApplicable("its factory is neither installed nor at the top level of a module, so no other process finds it")


def _resolve(owner: Any, qualname: str) -> Any:
    for part in qualname.split("."):
        owner = getattr(owner, part, None)
    return owner


def _there(address: _Address, trial: TrialFit, options: Options, training: Training) -> tuple[str, str | None]:
    """Run the trial in the other process."""
    if address.module is None:
        spec = find_plugin("method", address.name).spec
    else:
        factory = _resolve(_import(address.module, address.file), str(address.qualname))
        spec = MethodSpec(name=address.name, factory=factory, summary="", source="", training=training)
    seen = run_trial_fit(spec, trial, options, training)
    if seen.error is not None:
        return f"{type(seen.error).__name__}: {seen.error}", None
    return "", tensors_hash(seen.end)


def _import(module: str, file: str | None) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        if file is None:
            raise
    found = importlib.util.spec_from_file_location(module, file)
    assert found is not None
    assert found.loader is not None
    loaded = importlib.util.module_from_spec(found)
    sys.modules[module] = loaded
    found.loader.exec_module(loaded)
    return loaded
