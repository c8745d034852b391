"""The kinds of plugins as a table: code that finds, loads, lists, scaffolds or checks plugins reads it, and names no kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from unlearnbench.plugins.hookspecs import AttackHooks, BenchmarkHooks, ExtensionHooks, MethodHooks
from unlearnbench.plugins.specs import AttackSpec, BenchmarkSpec, MethodSpec

KindName = Literal["method", "benchmark", "attack", "extension"]
OfferedKind = Literal["method", "benchmark", "attack"]  # a kind whose plugins offer specs: one loads them by name


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of plugin.

    Attributes:
        name: name of the kind, in the singular; its entry-point group and its hook are called after it.
        hooks: class of the hooks that its plugins may implement.
        spec: class of the specs that its hook returns; None where plugins have nothing but hooks, and are always loaded.
        tried: arguments of `unlearnbench compare` that run a new plugin called `{name}`.
    """

    name: KindName
    hooks: type
    spec: type[MethodSpec] | type[BenchmarkSpec] | type[AttackSpec] | None = None
    tried: str = ""

    @property
    def group(self) -> str:
        """Return the entry-point group."""
        return f"unlearnbench.{self.name}s"

    @property
    def hook(self) -> str:
        """Return the name of the hook that returns the specs."""
        return f"unlearnbench_{self.name}s"


KINDS: dict[KindName, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="method", hooks=MethodHooks, spec=MethodSpec, tried="--methods {name}"),
        Kind(name="benchmark", hooks=BenchmarkHooks, spec=BenchmarkSpec, tried="--methods rmu --benchmarks wmdp,{name}"),
        Kind(name="attack", hooks=AttackHooks, spec=AttackSpec, tried="--methods rmu --attacks {name}"),
        Kind(name="extension", hooks=ExtensionHooks),
    )
}
OFFERED: tuple[OfferedKind, ...] = ("method", "benchmark", "attack")


def offered_among(names: Iterable[str]) -> list[OfferedKind]:
    """Return the kinds among these whose plugins offer specs, in the order of the table."""
    given = list(names)
    return [kind for kind in OFFERED if given.count(kind)]
