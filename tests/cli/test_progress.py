"""What a user sees while a comparison runs: a live table in a real pseudo terminal, lines without one, logs on disk."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import threading

from rich.console import Console

from unlearnbench.execution import job_log as joblog
from unlearnbench.execution.job_log import LoggedReporter
from unlearnbench.records.cells import CellKey, CellResult, Job, Metric
from unlearnbench.runs.folder import RunFolder
from unlearnbench.verbs import progress
from unlearnbench.verbs.progress import ProgressReporter

ARGUMENTS = (
    "compare",
    "--reference",
    "chance",
    "--methods",
    "rmu",
    "--benchmarks",
    "wmdp",
    "--limit",
    "3",
    "--set",
    "rmu.steps=60",
)


def job(variant: str, seed: int = 0) -> Job:
    return Job(variant=variant, method="rmu", seed=seed, identity="0" * 64)


def test_live_table_in_a_terminal(tmp_path):
    """The real command on a pseudo terminal: the table is drawn over itself, and only the results stay."""
    master, slave = pty.openpty()
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(tmp_path / "cache"), "TERM": "xterm-256color", "COLUMNS": "110"}
    line = [sys.executable, "-m", "unlearnbench", *ARGUMENTS, "--out", str(tmp_path / "run"), "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=slave, env=environment) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not block:
                break
            seen += block
        assert process.stdout is not None
        assert process.stdout.read().lstrip().startswith(b"{")
        assert process.wait() == 0, seen
    os.close(master)
    text = seen.decode()
    assert "\x1b[1A" in text or "\x1b[2K" in text  # it moves up and draws again
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"rmu +0 +unlearning .* \d+/60 .*(updates/s|s/update)", plain)
    assert re.search(r"\d of 2 cells, \d jobs? waiting", plain)
    assert plain.count("rmu/wmdp/0: ") == 1


def test_lines_without_a_terminal(cli, tmp_path, monkeypatch):
    for module in (progress, joblog):
        monkeypatch.setattr(module, "QUIET_SECONDS", 1e6)  # a busy machine would add lines about how far it is
    outcome = cli(*ARGUMENTS, "--set", "rmu.steps=2", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "\x1b" not in outcome.err
    lines = outcome.err.splitlines()
    assert "rmu, seed 0: unlearning (2)" in lines
    assert "rmu, seed 0: wmdp (9)" in lines
    assert len(lines) == 6  # three phases, two results, and where it is kept
    log = (tmp_path / "run" / "logs" / "rmu-seed-0.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in log)
    said = [line.split(" ", 1)[1] for line in log]
    assert said[0].startswith("rmu begins, job ")
    assert said[1:3] == ["unlearning, 2 updates", "scoring wmdp, 9 items"]
    assert re.fullmatch(r"rmu/wmdp/0: [\d.]+ over 9 items in [\d.]+ s", said[3])


def test_several_jobs_at_a_time():
    """An executor may run many at once and tell from its threads; each has its row, in a small terminal as many as fit."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=12, legacy_windows=False)
    reporter = ProgressReporter((), console)
    jobs = [job(f"row{number}", number) for number in range(4)]

    def work(one: Job) -> None:
        reporter.loading(one)
        reporter.unlearning(one, 200)
        for _ in range(100):
            reporter.step(one, 1.5 + one.seed)

    threads = [threading.Thread(target=work, args=(one,)) for one in jobs[:3]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporter.loading(jobs[3])
    with console.capture() as captured:
        console.print(reporter._table())
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", captured.get())
    for number in range(3):
        assert re.search(rf"row{number} +{number} +unlearning .* 100/200 +{number + 1}\.5 ", plain), plain
    assert re.search(r"row3 +3 +loading", plain)
    result = CellResult(
        key=CellKey(variant="row0", benchmark="wmdp", seed=0),
        identity="x",
        status="done",
        metric=Metric(role="forget", chance=0.25),
        value=0.5,
    )
    reporter.finished(result)
    with console.capture() as captured:
        console.print(reporter._table())
    assert "row0" not in captured.get()
    for number in range(4, 30):
        reporter.loading(job(f"row{number}"))
    with console.capture() as captured:
        console.print(reporter._table())
    assert captured.get().count("row") == 6
    assert "23 more jobs" in captured.get()


def test_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    told: list[str] = []

    class Told:
        def __getattr__(self, name: str):
            return lambda *_: told.append(name)

    log = LoggedReporter(Told(), RunFolder(tmp_path))
    log.loading(job("rmu"))
    log.step(job("rmu"), 1.0)
    assert told == ["loading", "step"]
