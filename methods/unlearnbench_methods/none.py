"""none: the untouched model, the row that every other one is read against.

Source: none needed.
Deviations: none.
"""

from __future__ import annotations

from unlearnbench.api import MethodSpec, UnlearningMethod, hookimpl


class Untouched(UnlearningMethod):
    """Changes nothing."""


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [MethodSpec(name="none", factory=Untouched, summary="the untouched model", source="-", training=None)]
