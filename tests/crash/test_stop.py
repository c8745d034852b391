"""Whoever is asked to stop does so within seconds, leaves what is done, calls nothing a failure, and goes on afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from crash.ordeal import assert_kept, finished
from helpers.fault_server import JudgeServer, judge_server
from helpers.model_folders import with_config

TOPIC = 'bio: {forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}'
RMU = "layer: 3, lr: 1.0e-3, batch_size: 2, max_length: 24"
SLURM = {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "night"} | dict.fromkeys(
    ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0"
)
SECONDS = 20.0  # to stop in; on a machine with nothing else to do it takes one
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


@dataclass
class Command:
    """One command, begun as often as it takes to come to its end; each start has a session of its own, as under a scheduler."""

    folder: Path
    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, name: str = "run") -> subprocess.Popen[str]:
        about = {"UNLEARNBENCH_CACHE": str(self.folder / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "unlearnbench", *self.words, "--out", str(self.folder / name)]
        return subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, **about, **self.environment},
        )  # fmt: skip

    def finish(self, name: str = "run") -> dict[str, Any]:
        """Let it come to its end; the numbers that it leaves."""
        with self.start(name) as process:
            assert process.stderr is not None
            said = process.stderr.read()
        assert process.returncode == 0, said
        return numbers(self.folder / name)

    def stop(self, when: Callable[[subprocess.Popen[str]], None], number: int, to: str = "command") -> None:
        """Ask it to stop, twice, when a moment has come; look at what it says and leaves."""
        run = self.folder / "run"
        with self.start() as process:
            when(process)
            processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            before, started = finished(run), time.monotonic()
            for _ in range(2):
                ask(processes, number, to)
            assert process.stderr is not None
            said = process.stderr.read()
            code = process.wait()
        assert time.monotonic() - started < SECONDS
        assert code == 128 + number, said
        assert f"Stopped by {signal.Signals(number).name}. Finished " in said
        assert said.count("the same command goes on from there.") == 1
        assert "Traceback" not in said
        assert not [one for one in processes if alive(one)]
        assert_kept(before, finished(run))
        records = [json.loads(path.read_text()) for path in run.rglob("cells/*/*/*.json")]
        assert {record["status"] for record in records} <= {"done"}


def ask(processes: list[psutil.Process], number: int, to: str) -> None:
    """As `kill`, a terminal or a batch system does."""
    command = processes[0]
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if to == "group":
            os.killpg(command.pid, number)
    for process in {"command": processes[:1], "group": [], "all": processes[::-1]}[to]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def alive(process: psutil.Process) -> bool:
    """Or dead and not buried yet by the system."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.wait(5)
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def numbers(run: Path) -> dict[str, Any]:
    """The table, or the trials of a search, without what depends on clock and folder."""
    trials, table = run / "tuning" / "trials.json", run / "leaderboard.json"
    board = json.loads((trials if trials.exists() else table).read_text())
    for row in board["rows"]:
        row.pop("cost", None)
        for trial in row.get("trials", ()):
            del trial["seconds"]
    return board


def after(words: str, seconds: float = 0.2) -> Callable[[subprocess.Popen[str]], None]:
    """The moment some seconds after it has said that."""

    def wait(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        assert any(words in line for line in process.stderr), f"it ended without saying '{words}'"
        time.sleep(seconds)

    return wait


def at(happened: Callable[[], object]) -> Callable[[subprocess.Popen[str]], None]:
    """The moment when something has happened."""

    def wait(process: subprocess.Popen[str]) -> None:
        while not happened():
            assert process.poll() is None
            time.sleep(0.02)

    return wait


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def compare(folder: Path, model: Path, *words: str, steps: int = 200, devices: int = 1, **environment: str) -> Command:
    text = f"model: {model}\ntopics: {{{TOPIC}}}\nbenchmarks: {{wmdp: {{source: 'sandbox:wmdp'}}}}\ndtype: float32\n"
    text += f"trainer: {{devices: {devices}}}\nmethods: {{rmu: {{{RMU}, steps: {steps}}}}}\n"
    (folder / "r.yaml").write_text(text)
    return Command(folder, ["compare", str(folder / "r.yaml"), *words], environment)


def test_a_training_that_was_stopped_goes_on(tmp_path, tiny_folder):
    command = compare(tmp_path, tiny_folder)
    command.stop(after("rmu, seed 0: unlearning"), signal.SIGTERM)
    assert [path.parts[-3] for path in finished(tmp_path / "run")] == ["none"]
    assert [row["status"] for row in command.finish()["rows"]] == ["done", "done"]


def test_a_job_in_a_process_of_its_own_is_nobodys_failure(tmp_path, tiny_folder):
    """As when a batch system asks every process of a job."""
    command = compare(tmp_path, tiny_folder, "--executor", "isolated", steps=100_000)
    command.stop(after("rmu, seed 0: unlearning"), signal.SIGTERM, "all")


LOCAL, ISOLATED = (), ("--executor", "isolated")
TRAININGS = {
    "local": (LOCAL, {}, 0.2),
    "Slurm": (LOCAL, SLURM, 0.2),
    "isolated": (ISOLATED, {}, 0.2),
    # long enough for them to find each other, and not for all updates
    "several processes": (LOCAL, {"devices": 2, "steps": 2000}, 8.0),
    "isolated, several processes": (ISOLATED, {"devices": 2, "steps": 2000}, 8.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", TRAININGS)
def test_every_signal_while_it_trains(tmp_path, tiny_folder, how):
    """To the command alone, to its group, and to all processes; the rest is done in the end."""
    words, options, seconds = TRAININGS[how]
    command = compare(tmp_path, tiny_folder, *words, **options)
    for number, to in zip(SIGNALS, ("group", "all", "command", "all"), strict=True):
        command.stop(after("rmu, seed 0: unlearning", seconds), number, to)
    assert command.finish() == command.finish("whole")


@pytest.mark.slow
@pytest.mark.parametrize("words", [LOCAL, ISOLATED], ids=["local", "isolated"])
def test_every_signal_while_it_plans_loads_and_scores(tmp_path, tiny_folder, words):
    command = compare(tmp_path, tiny_folder, *words, steps=2)
    recipe, plan, log = (tmp_path / "run" / name for name in ("recipe.yaml", "plan.json", "logs/none-seed-0.log"))
    for number in SIGNALS:
        for sign in (recipe, plan, log):
            sign.unlink(missing_ok=True)
            command.stop(at(sign.exists), number)
    command.stop(after(": wmdp", 0.0), signal.SIGTERM)
    assert command.finish() == command.finish("whole")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there one can look whether a process is ready")
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5, 1.5, 4.0])
def test_a_request_before_anything_runs(tmp_path, tiny_folder, seconds):
    """Where there is no plan yet, there may be nothing to say but that it stopped."""
    command = compare(tmp_path, tiny_folder, *ISOLATED)
    with command.start() as process:
        while not catches(process.pid, signal.SIGTERM):
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 143
    assert said.startswith("Stopped by SIGTERM.")
    assert len(said.splitlines()) == 1


@pytest.fixture
def slow_judge() -> Iterator[JudgeServer]:
    """Takes its time for each answer."""
    with judge_server() as server:

        def reply(body: dict) -> str:
            time.sleep(0.3)
            return "Rating: [[7]]"

        server.reply = reply
        yield server


def evaluate(folder: Path, model: Path, *words: str) -> Command:
    settings = ["--set", "mt_bench.source=sandbox:mt_bench", "--set", "mt_bench.max_new_tokens=48"]
    return Command(folder, ["evaluate", str(model), "--benchmarks", "mt_bench", *settings, "--limit", "8", *words])


@pytest.mark.slow
def test_every_signal_while_it_writes_answers(tmp_path, tiny_folder):
    command = evaluate(tmp_path, tiny_folder)
    for number in SIGNALS:
        command.stop(after("none, seed 0: mt_bench", 0.1), number)
    assert command.finish() == command.finish("whole")


@pytest.mark.slow
def test_every_signal_while_a_judge_is_asked(tmp_path, tiny_folder, slow_judge):
    """Requests that are under way are dropped; what it has said is not asked again."""
    command = evaluate(tmp_path, tiny_folder, "--judge", "openai:model-x", "--judge-url", slow_judge.url)
    for number in SIGNALS:
        asked = len(slow_judge.asked)
        command.stop(at(lambda asked=asked: len(slow_judge.asked) > asked + 1), number)
    assert command.finish() == command.finish("whole")


@pytest.mark.slow
def test_every_signal_while_a_judge_in_memory_thinks(tmp_path, tiny_folder):
    judge = with_config(tiny_folder, tmp_path / "judge", max_position_embeddings=4096)  # its prompt is longer than 512 tokens
    command = evaluate(tmp_path, tiny_folder, "--judge", f"hf:{judge}", "--set", "mt_bench.judge_reply_tokens=200")
    for number in SIGNALS:
        command.stop(after("none, seed 0: mt_bench", 1.5), number)


@pytest.mark.slow
@pytest.mark.parametrize("words", [LOCAL, (*ISOLATED, "--jobs", "2")], ids=["local", "isolated"])
def test_every_signal_while_it_tunes(tmp_path, words):
    budget = ["--trials", "2", "--set", "rmu.steps=40", "--limit", "20"]
    command = Command(tmp_path, ["tune", "rmu", *budget, *words])
    for number in SIGNALS:
        command.stop(after("rmu.trial-1, seed 0: unlearning"), number, "all")
    assert command.finish() == command.finish("whole")
