"""What libraries warn of goes to the job's log, not into the middle of what a user sees; afterwards all is as it was."""

from __future__ import annotations

import logging
import warnings

from transformers.utils import logging as of_transformers

from unlearnbench.execution.job_log import LoggedReporter
from unlearnbench.execution.library_words import overheard
from unlearnbench.records.cells import Job
from unlearnbench.runs.folder import RunFolder
from unlearnbench.verbs.progress import ProgressReporter


def test_warnings_go_to_the_log_of_the_job(tmp_path, capfd):
    job = Job(variant="rmu", method="rmu", seed=0, identity="0" * 64)
    log = LoggedReporter(ProgressReporter(), RunFolder(tmp_path))
    library = of_transformers.get_logger("transformers.generation")
    before = (logging.getLogger("transformers").handlers, warnings.showwarning)
    with overheard(log.library):
        log.loading(job)
        library.warning("The attention mask\nis not set.")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a kernel is deprecated", UserWarning, stacklevel=1)
        log.warn("rmu changed a weight")
    assert (logging.getLogger("transformers").handlers, warnings.showwarning) == before
    assert capfd.readouterr().err == "warning: rmu changed a weight\n"
    _, *lines = (tmp_path / "logs" / "rmu-seed-0.log").read_text().splitlines()
    assert lines[0].endswith("Z transformers.generation: The attention mask is not set.")
    assert "py.warnings: " in lines[1]
    assert "UserWarning: a kernel is deprecated" in lines[1]
