"""Its hook wants an argument that the hook has not."""

from unlearnbench.api import hookimpl


@hookimpl
def unlearnbench_trainer_callbacks(job, trainer):
    return []
