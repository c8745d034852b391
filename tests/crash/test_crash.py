"""A comparison that is killed or shared loses nothing; the long form is `make crash`."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from crash.ordeal import Ordeal, endure, finished

from unlearnbench.errors import UsageError
from unlearnbench.runs.locks import Holding

HOLD = "import sys, time; from pathlib import Path; from unlearnbench.runs.locks import Holding\n"
HOLD += "with Holding(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


@pytest.fixture
def ordeal(tmp_path: Path, tiny_folder: Path) -> Ordeal:
    return Ordeal(tmp_path, tiny_folder)


def test_two_kills(ordeal):
    """`make crash` makes sixty."""
    endure(ordeal, 2, random.Random(6))


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended without saying '{words}'")


def workers_of(folder: Path) -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(one.info["cmdline"] or ())]


def gone(folder: Path, seconds: float = 10.0) -> bool:
    patience = time.monotonic() + seconds
    while workers_of(folder) and time.monotonic() < patience:
        time.sleep(0.1)
    return not workers_of(folder)


@pytest.mark.slow
def test_isolated_jobs_end_with_the_command(ordeal):
    """A killed parent takes its workers along; what was finished stays."""
    ordeal.executor = "isolated"
    text = (ordeal.folder / "r.yaml").read_text()
    (ordeal.folder / "r.yaml").write_text(text.replace("steps: 6", "steps: 100000"))
    with ordeal.start("run") as process:
        read_until(process, "rmu, seed 0: unlearning")
        before = finished(ordeal.run)
        started = time.monotonic()
        process.kill()
        process.wait()
    assert time.monotonic() - started < 15
    assert gone(ordeal.run)
    assert len(before) == 2
    assert finished(ordeal.run) == before


def test_a_folder_has_one_holder_until_it_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"in use by process {holder.pid} on .* since 20\d\d-.*--join"), Holding(tmp_path):
            pass
        with Holding(tmp_path, join=True) as beside:
            assert not beside.alone
        holder.kill()
    with Holding(tmp_path) as now:
        assert now.alone


def test_second_command_is_refused(cli, tmp_path):
    with Holding(tmp_path / "run"):
        outcome = cli("compare", "--methods", "none", "--limit", "1", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert f"is in use by process {os.getpid()} on " in outcome.err
    assert not (tmp_path / "run" / "cells").exists()


def test_joined_commands_share_the_jobs(ordeal):
    """Both end with the whole table, and every cell was computed by one of them."""
    with ordeal.start("run") as first:
        read_until(first, "none, seed 0: wmdp")
        command = [*first.args, "--join"]  # pyright: ignore[reportGeneralTypeIssues]
        environment = {**os.environ, "UNLEARNBENCH_CACHE": str(ordeal.folder / "cache-2"), "OMP_NUM_THREADS": "1"}
        second = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert first.stderr is not None
        said = "none, seed 0: wmdp\n" + first.stderr.read()
    assert (first.returncode, second.returncode) == (0, 0), said + second.stderr
    computed = Counter(re.findall(r"^(\S+/\S+/0): \d", said + "\n" + second.stderr, flags=re.MULTILINE))
    assert computed == dict.fromkeys(
        [f"{row}/{column}/0" for row in ("none", "rmu", "scrub") for column in ("wmdp", "mmlu")], 1
    )


def test_join_takes_the_same_comparison_only(cli, ordeal, monkeypatch):
    from unlearnbench.execution import compare

    monkeypatch.setattr(compare, "JOIN_SECONDS", 0.5)
    assert cli("compare", "--methods", "none", "--limit", "1", "--out", ordeal.run).code == 0
    with Holding(ordeal.run):
        outcome = cli("compare", "--methods", "none", "--limit", "2", "--out", ordeal.run, "--join")
    assert outcome.code == 2
    assert "runs another comparison in" in outcome.err
