"""Find plugins by entry point and load the ones that are asked for, and no others."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import metadata
from typing import Any, Generic, Literal, TypeVar, cast, overload

import pluggy

from unlearnbench import __version__
from unlearnbench.errors import PluginError, UnlearnbenchError, normalise, unknown_name
from unlearnbench.plugins.fingerprint import source_hash
from unlearnbench.plugins.hookspecs import PROJECT
from unlearnbench.plugins.kinds import KINDS, KindName, OfferedKind
from unlearnbench.plugins.sources import broken_source, described
from unlearnbench.plugins.specs import AttackSpec, BenchmarkSpec, MethodSpec, PluginSpec
from unlearnbench.system.process_state import restored_process_state

SpecT = TypeVar("SpecT", MethodSpec, BenchmarkSpec, AttackSpec)


@dataclass(frozen=True)
class PluginInfo:
    """The facts on a plugin that are known without importing it."""

    kind: KindName
    name: str
    distribution: str
    version: str
    module: str


@dataclass(frozen=True)
class Plugin(Generic[SpecT]):
    """A plugin that a recipe or a command names; imported when its spec is first needed.

    Attributes:
        info: entry point of the plugin.
        source_hash: hash of the module's source and what it imports from its own package.
    """

    info: PluginInfo
    source_hash: str

    @cached_property
    def spec(self) -> SpecT:
        """Return its spec. Raises PluginError where it cannot be loaded."""
        return cast("SpecT", _load_spec(self.info))


def list_plugins(kind: KindName | None = None) -> list[PluginInfo]:
    """Return every installed plugin, nothing imported; one distribution installed twice counts once."""
    environment = _environment()
    kinds: Iterable[KindName] = KINDS if kind is None else (kind,)
    found = [info for name in kinds for info in _installed(name, environment)]
    return sorted(found, key=lambda info: (info.kind, info.name, info.distribution))


def _environment() -> tuple[object, ...]:
    """Return what changes when a distribution comes or goes: where `importlib.metadata` looks, and when that changed last."""
    places: list[tuple[object, ...]] = []
    for place in sys.path:
        try:
            state = os.stat(place or ".")
        except OSError:
            places.append((place,))
        else:
            places.append((place, state.st_dev, state.st_ino, state.st_mtime_ns))
    return *places, *map(id, sys.meta_path)


@lru_cache(maxsize=2 * len(KINDS))
def _installed(kind: KindName, environment: tuple[object, ...]) -> tuple[PluginInfo, ...]:
    """Return the plugins of a kind in an environment, read once: a plan with many rows asks for each row's."""
    found: dict[PluginInfo, None] = {}
    for point in metadata.entry_points(group=KINDS[kind].group):
        name, version = (point.dist.name or "?", point.dist.version or "?") if point.dist else ("?", "?")
        found[PluginInfo(kind, point.name, name, version, point.value)] = None
    return tuple(found)


def what_is_broken(plugins: Iterable[PluginInfo]) -> dict[PluginInfo, str]:
    """Return a sentence for each plugin that is sure to fail on import; none of them is executed."""
    found = ((info, broken_source(info.module)) for info in plugins)
    return {info: f"{_not_imported(info)}: {problem}." for info, problem in found if problem is not None}


def _find(kind: KindName, name: str) -> PluginInfo:
    """Return the one entry point of that name; `-` and `_` are alike."""
    plugins = list_plugins(kind)
    matching = [info for info in plugins if normalise(info.name) == normalise(name)]
    if not matching:
        advice = "`unlearnbench plugins` lists them with where they come from."
        raise unknown_name(kind, name, {info.name for info in plugins}, advice)
    if len(matching) > 1:
        owners = " and ".join(f"{info.distribution} {info.version} ({info.module})" for info in matching)
        raise PluginError(f"The {kind} '{name}' is offered twice, by {owners}; uninstall one of them.")
    return matching[0]


@cache
def _manager(kind: KindName) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(KINDS[kind].hooks)
    return manager


@overload
def find_plugin(kind: Literal["method"], name: str) -> Plugin[MethodSpec]: ...
@overload
def find_plugin(kind: Literal["benchmark"], name: str) -> Plugin[BenchmarkSpec]: ...
@overload
def find_plugin(kind: Literal["attack"], name: str) -> Plugin[AttackSpec]: ...
@overload
def find_plugin(kind: OfferedKind, name: str) -> Plugin[Any]: ...
def find_plugin(kind: OfferedKind, name: str) -> Plugin[Any]:
    """Return the plugin of that name, not imported yet.

    Raises:
        UsageError: no such plugin.
        PluginError: two distributions offer it.
    """
    info = _find(kind, name)
    return Plugin(info, source_hash(info.module))


def _load_spec(info: PluginInfo) -> PluginSpec:
    """Import a plugin and return the spec that it offers under its entry point's name.

    Raises:
        PluginError: it fails to import, implements an unknown hook, or does not offer what its entry point says.
    """
    with restored_process_state():
        return _offered(info, _register(info))


def _offered(info: PluginInfo, module: Any) -> PluginSpec:
    kind = KINDS[info.kind]
    hook = getattr(module, kind.hook, None)
    if hook is None:
        raise PluginError(f"{describe(info)} does not implement the hook {kind.hook} in {info.module}.{_wants_module(info)}")
    with guarded(info, f"in {kind.hook}"):
        offered = list(hook())
    for spec in offered:
        if kind.spec is not None and isinstance(spec, kind.spec) and normalise(spec.name) == normalise(info.name):
            return spec
    names = ", ".join(str(getattr(spec, "name", spec)) for spec in offered) or "nothing"
    raise PluginError(f"{describe(info)} offers {names} in {info.module}, but nothing called '{info.name}'.")


def describe(info: PluginInfo) -> str:
    """Return a plugin in a sentence, with the distribution that it comes from."""
    return f"The {info.kind} '{info.name}' of {info.distribution} {info.version}"


def _not_imported(info: PluginInfo) -> str:
    return f"{describe(info)} cannot be imported from {info.module}"


@contextmanager
def guarded(info: PluginInfo, where: str) -> Generator[None]:
    """Turn everything that a plugin raises, but a sentence for users, into a sentence that names the plugin.

    Raises:
        PluginError: instead of what was raised.
    """
    try:
        yield
    except UnlearnbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{describe(info)} fails {where}: {described(error, info.module)}.") from error


def load_extensions() -> tuple[pluggy.PluginManager, list[str]]:
    """Return the manager of all extensions, and one sentence for each that could not be loaded."""
    problems: list[str] = []
    for info in list_plugins("extension"):
        try:
            _register(info)
        except UnlearnbenchError as error:
            problems.append(str(error))
    return _manager("extension"), problems


def _register(info: PluginInfo) -> Any:
    """Import the plugin's module and register it once, however many entry points name it."""
    manager = _manager(info.kind)
    _check_version(info)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a module says while it is imported is no output of a command
            module = metadata.EntryPoint(info.name, info.module, KINDS[info.kind].group).load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{_not_imported(info)}: {described(error, info.module)}.") from error
    if inspect.isclass(module):
        problem = f"leads to a class, {info.module}, of which nobody makes an instance"
        raise PluginError(f"{describe(info)} {problem}.{_wants_module(info)}")
    if not manager.is_registered(module):
        try:
            manager.register(module, name=info.module)
            manager.check_pending()  # a misspelt hook would otherwise be ignored
        except pluggy.PluginValidationError as error:
            manager.unregister(name=info.module)  # a hook that takes other arguments was not registered at all
            problem = " ".join(str(error).split())
            raise PluginError(
                f"{describe(info)} has a hook that does not exist or takes other arguments: {problem}."
            ) from error
    return module


def _wants_module(info: PluginInfo) -> str:
    """Return the advice on an entry point that leads into a module; nothing for one that names a module."""
    module, colon, _ = info.module.partition(":")
    return f' Let its entry point name the module that has the hook: `{info.name} = "{module}"`.' if colon else ""


def _check_version(info: PluginInfo) -> None:
    """Refuse a plugin whose distribution asks for another version of unlearnbench, before its imports fail obscurely."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        wanted = metadata.requires(info.distribution) or []
    except metadata.PackageNotFoundError:
        return
    for text in wanted:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ours = canonicalize_name(requirement.name) == "unlearnbench"
        if ours and applies and not requirement.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                f"{describe(info)} needs unlearnbench{requirement.specifier}, and this is {__version__}; upgrade unlearnbench, "
                f"or install a version of {info.distribution} that was made for it."
            )
