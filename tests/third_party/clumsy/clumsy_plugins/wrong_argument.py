"""Its hook wants an argument that the hook has not."""

from unlearnbench.api import hookimpl


@hookimpl
def unlearnbench_methods(model):
    return []
