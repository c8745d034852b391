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
