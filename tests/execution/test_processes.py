"""Processes of our own: what they get from the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from unlearnbench.execution.processes import share_of_cores


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may use every core")
@pytest.mark.parametrize(("processes", "threads"), [(2, "4"), (3, "2"), (8, "1"), (20, "1")])
def test_processes_share_the_cores(monkeypatch, processes, threads):
    """Eight cores: as many threads in all as there are cores, as long as there are no more processes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert share_of_cores(processes) == {"OMP_NUM_THREADS": threads}


def test_one_process_and_the_users_own_number_stay(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share_of_cores(1) == {}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert share_of_cores(2) == {}


def test_torch_does_as_it_is_told():
    told = {**os.environ, "OMP_NUM_THREADS": "1"}
    asked = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    assert subprocess.run(asked, env=told, capture_output=True, text=True, check=True).stdout.split() == ["1"]


def test_a_process_that_was_asked_to_stop_too_early_is_no_failure():
    """Every process of a job is asked at once, one of them before it is ready to leave that to its parent."""
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from unlearnbench.execution.processes import Process\n"
        "with Process(['unlearnbench.execution.plugin_trial', 'm', '[]'], Path(os.devnull)) as process:\n"
        "    process.process.send_signal(signal.SIGTERM)\n"
        "    process.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("StopRequested: Stopped by SIGTERM.")
