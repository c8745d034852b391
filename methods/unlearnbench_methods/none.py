"""none: the untouched model, the row that all others are compared with.

Source: none needed.
Deviations: none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.api import MethodSpec, hookimpl

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unlearnbench.api import UnlearningMethod


def untouched(model: PreTrainedModel) -> UnlearningMethod:
    """Wrap the model and change nothing."""
    from unlearnbench.api import UnlearningMethod  # here, so that scoring a model does not import Lightning

    return UnlearningMethod(model)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [MethodSpec(name="none", factory=untouched, summary="the untouched model", source="-", training=None)]
