"""Ctrl-C in a process that is not the command line's, such as a notebook's; and calls from other threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unlearnbench.system import stop_signals

SCRIPT = """
import signal, sys, threading
import unlearnbench

handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
methods = {"grad-diff": {"steps": int(sys.argv[2])}}
asked = dict(methods=methods, benchmarks=["wmdp", "mmlu"], limit=2, out=sys.argv[1], cache=sys.argv[1] + "-cache", reference=())
try:
    unlearnbench.compare("sandbox", **asked)
except KeyboardInterrupt as error:
    kept = error  # as a notebook keeps the last traceback, and with it all frames
else:
    sys.exit("nothing interrupted it")
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
print("interrupted", flush=True)

asked["methods"] = {"ssd": {"steps": 2}}
boards = []
thread = threading.Thread(target=lambda: boards.append(unlearnbench.compare("sandbox", **asked)))
thread.start()
thread.join()
assert [row.status for row in boards[0].leaderboard.rows] == ["done", "done"], boards
print("went on")
"""


def test_ctrl_c_leaves_the_process_and_the_folder_usable(tmp_path):
    """While a method trains: the folder's lock is free, handlers are as before, and another thread goes on in it."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(run), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(run / "logs", "metrics.csv", process)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out.split("\n"), err) == (0, ["interrupted", "went on", ""], "")
    assert not list((run / "cells" / "grad-diff").rglob("*.json"))  # being interrupted is no failure


def wait_for(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    patience = time.monotonic() + 300
    while not any(file.stat().st_size for file in folder.rglob(name)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < patience
        time.sleep(0.1)


def test_a_request_ends_no_process_that_is_not_ours():
    """A worker that was asked to stop stops the call, and the next one is free of it."""
    for _ in range(2):
        words = stop_signals.answered_with("Cells are kept.")
        with pytest.raises(stop_signals.StopRequested, match=r"Stopped by SIGTERM\. Cells are kept\."), words:
            stop_signals.request(signal.SIGTERM)
        stop_signals.heed()
