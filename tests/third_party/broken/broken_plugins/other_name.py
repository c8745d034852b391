"""Its spec is called otherwise than its entry point."""

from unlearnbench.api import MethodSpec, UnlearningMethod, hookimpl


@hookimpl
def unlearnbench_methods():
    return [MethodSpec(name="another", factory=UnlearningMethod, summary="", source="")]
