"""Requests to stop, in small processes of their own: raised once, heard by nobody else's `except`, and never for longer."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

from unlearnbench.system.stop_signals import REQUESTS

HEAD = """
import os, signal, subprocess, sys, time
from unlearnbench.system import stop_signals
from unlearnbench.system.stop_signals import StopRequested, answered_with, heed, heeded, leave_to_parent

def ask(number):
    os.kill(os.getpid(), number)
    time.sleep(0.2)

def main():
    with heeded(), answered_with("It goes on."):
        block()
"""
TAIL = """
try:
    main()
except StopRequested as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


def run(block: str, tail: str = TAIL, **options) -> subprocess.CompletedProcess[str]:
    """The outcome of a process in which `block` runs; every request has the default handler there."""
    lines = "".join(f"    {line}\n" for line in block.strip().splitlines())
    code = f"{HEAD}\ndef block():\n{lines}{tail}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, **options)


@pytest.mark.parametrize("number", REQUESTS)
def test_each_request_is_raised_and_ends_with_its_code(number):
    done = run(f"try:\n    ask({int(number)})\nexcept Exception:\n    print('taken for a failure')")
    assert (done.returncode, done.stdout) == (128 + number, f"Stopped by {number.name}. It goes on.\n")


def test_a_second_request_does_not_disturb_the_clean_up():
    done = run("try:\n    ask(15)\nfinally:\n    ask(15)\n    ask(2)\n    print('in order')")
    assert (done.returncode, done.stdout) == (143, "in order\nStopped by SIGTERM. It goes on.\n")


def test_a_request_at_the_interpreter_s_exit_is_heard_by_nobody():
    """A second Ctrl-C, while libraries put their things in order: torch writes down what it compiled."""
    done = run("import atexit\natexit.register(lambda: (ask(2), print('in order')))\nask(15)")
    assert (done.returncode, done.stderr) == (143, "")
    assert done.stdout == "Stopped by SIGTERM. It goes on.\nin order\n"


@pytest.mark.parametrize(
    "made_of_it",
    ["try:\n    ask(15)\nexcept BaseException as error:\n    raise RuntimeError('no training') from error",
     "try:\n    ask(15)\nexcept BaseException:\n    sys.exit(0)"],
)  # fmt: skip
def test_what_else_is_made_of_it_is_the_request(made_of_it):
    done = run(made_of_it)
    assert (done.returncode, done.stdout) == (143, "Stopped by SIGTERM. It goes on.\n")


def test_nothing_is_kept_after_a_request_that_was_swallowed(tmp_path):
    keep = f"from unlearnbench.runs.folder import RunFolder\nRunFolder(__import__('pathlib').Path({str(tmp_path)!r}))"
    done = run(f"try:\n    ask(15)\nexcept BaseException:\n    pass\n{keep}.write_cell(None, [])\nprint('kept')")
    assert (done.returncode, done.stdout) == (143, "Stopped by SIGTERM. It goes on.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stuck", ["time.sleep(20)", "while True:\n        pass"])
def test_a_process_that_does_not_end_is_ended(stuck):
    swallowed = f"try:\n    ask(15)\nexcept BaseException:\n    {stuck}"
    done = run(f"stop_signals.PATIENCE_SECONDS = 0.5\n{swallowed}")
    assert (done.returncode, done.stderr) == (143, "Stopped by SIGTERM. It goes on.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_the_parent_ignores_stays_ignored(number):
    """As under `nohup`, and in a shell's background job."""
    ignored = run(f"ask({int(number)})\nprint('goes on')", preexec_fn=lambda: signal.signal(number, signal.SIG_IGN))
    assert (ignored.returncode, ignored.stdout) == (0, "goes on\n")


def test_handlers_are_put_back():
    done = run("pass", "\nmain()\nprint('done', flush=True)\nask(15)\n")
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "done\n")


def test_the_next_job_is_stopped_as_this_one():
    """Lightning leaves Ctrl-C ignored, a plugin may leave a handler of its own."""
    block = "from unlearnbench.system.process_state import restored_process_state\nwith restored_process_state():\n"
    done = run(f"{block}    signal.signal(2, signal.SIG_IGN)\n    signal.signal(15, lambda *_: None)\nask(2)")
    assert done.returncode == 130


def test_a_plugins_own_interrupt_is_one():
    done = run("raise KeyboardInterrupt")
    assert done.returncode == 130
    assert done.stdout.startswith("Stopped by SIGINT.")


def test_a_fork_can_be_ended_by_its_parent():
    block = (
        "child = os.fork()\nif child == 0:\n    time.sleep(20)\ntime.sleep(0.2)\n"
        "os.kill(child, 15)\nprint(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert run(block).stdout == "-15\n"


def test_a_process_of_ours_leaves_it_to_its_parent():
    """And what it starts can still be ended."""
    start = "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])"
    done = run(
        f"leave_to_parent()\nask(15)\nask(10)\n{start}\ntime.sleep(0.3)\nchild.terminate()\nprint(child.wait())", "block()"
    )
    assert done.stdout == "-15\n", done.stderr


def test_a_terminal_that_is_gone_changes_nothing():
    """Its hang-up stops the command, whose last words nobody can hear."""
    command = "import sys, time\nfrom unlearnbench.cli import app, main\n"
    command += "app.command('wait')(lambda: (print('ready', flush=True), time.sleep(20)))\n"
    command += "sys.argv = ['unlearnbench', 'wait']\nmain()"
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        [sys.executable, "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=environment
    ) as process:
        os.close(theirs)
        said = b""
        while not said.endswith(b"\n"):  # until then the command is still writing, which fails where the terminal is gone
            said += os.read(ours, 100)
        assert said == b"ready\r\n"
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 129
