"""What is damaged or foreign in a comparison's folder is named, set aside, computed again; a full disk loses nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from unlearnbench.errors import StorageError
from unlearnbench.execution.training_log import MetricsFile
from unlearnbench.records.items import ItemResult
from unlearnbench.runs.score_cache import ScoreCache
from unlearnbench.system.files import _owner, left_behind, write_atomic

SMALL = ("compare", "--benchmarks", "wmdp,mmlu", "--limit", "3", "--set", "rmu.steps=2", "--methods", "rmu")


def scores(outcome) -> list[dict[str, object]]:
    assert outcome.code == 0, outcome.err
    return [row["scores"] for row in json.loads(outcome.out)["rows"]]


def test_damaged_and_foreign_files(cli, tmp_path):
    """A truncated record, items with a wrong byte, another cell's record, a note, a damaged delta: all named, none believed."""
    run = tmp_path / "run"
    arguments = (*SMALL, "--out", run, "--cache", tmp_path / "cache", "--json")
    first = scores(cli(*arguments))
    cells = {(p.parts[-3], p.parts[-2]): p for p in (run / "cells").rglob("*.json")}
    truncated, spoilt, foreign = cells["none", "wmdp"], cells["none", "mmlu"], cells["rmu", "wmdp"]
    truncated.write_bytes(truncated.read_bytes()[:40])
    items = spoilt.with_suffix(".items.parquet")
    content = bytearray(items.read_bytes())
    content[len(content) // 3] ^= 0xFF
    items.write_bytes(content)
    shutil.copy(cells["rmu", "mmlu"], foreign)
    (run / "cells" / "rmu" / "notes.txt").write_text("mine")
    manifest = next((run / "deltas").rglob("manifest.json"))
    manifest.write_text("{")
    shutil.rmtree(tmp_path / "cache" / "scores")
    again = cli(*arguments)
    assert scores(again) == first
    for path in (truncated, spoilt, foreign, run / "cells" / "rmu" / "notes.txt", manifest.parent):
        name = path.relative_to(run)
        assert f"warning: {name} " in again.err
        assert (run / "set-aside" / name).exists()
    assert (run / "set-aside" / "cells" / "rmu" / "notes.txt").read_text() == "mine"
    assert "rmu, seed 0: unlearning" in again.err  # the delta could not be believed
    assert "rmu, seed 0: mmlu" not in again.err
    assert "warning" not in cli(*arguments).err


def test_delta_with_wrong_numbers_is_not_scored(cli, tmp_path):
    """It can be read, and its weights are not those that were trained."""
    arguments = (*SMALL, "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--json")
    first = scores(cli(*arguments))
    delta = next((tmp_path / "run" / "deltas").rglob("delta.safetensors"))
    content = bytearray(delta.read_bytes())
    content[-1] ^= 0x40
    delta.write_bytes(content)
    shutil.rmtree(tmp_path / "run" / "cells" / "rmu")
    shutil.rmtree(tmp_path / "cache" / "scores")
    again = cli(*arguments)
    assert scores(again) == first
    assert "holds other weights than were trained" in again.err


def test_what_was_changed_or_cut(cli, tmp_path):
    """A figure that somebody changed, a delta that was cut short, questions that cannot be read, a dead process's file."""
    run = tmp_path / "run"
    arguments = (*SMALL, "--out", run, "--cache", tmp_path / "cache", "--json")
    first = scores(cli(*arguments))
    cell = next((run / "cells" / "rmu" / "wmdp").glob("*.json"))
    record = json.loads(cell.read_text())
    cell.write_text(json.dumps({**record, "value": 1 - record["value"]}))
    delta = next((run / "deltas").rglob("delta.safetensors"))
    delta.write_bytes(delta.read_bytes()[:-100])
    questions = next((run / "questions").glob("mmlu-*.parquet"))
    whole = questions.read_bytes()
    questions.write_bytes(whole[: len(whole) // 2])
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    left = run / f".{_owner().replace(str(os.getpid()), str(dead.pid), 1)}-abc.tmp"
    left.write_text("half")
    assert cli("leaderboard", run).code == 2
    again = cli(*arguments)
    assert scores(again) == first
    for path, said in (
        (cell, "is damaged, was changed, or is the record of another cell; it is computed again"),
        (delta.parent, "is damaged; the model is trained again if something is left to score"),
        (questions, "is damaged; it is written again"),
    ):
        name = path.relative_to(run)
        assert f"warning: {name} {said}. It is kept as set-aside/{name}." in again.err
        assert (run / "set-aside" / name).exists()
    assert questions.read_bytes() == whole
    assert not left.exists()
    assert "warning" not in cli(*arguments).err


def test_cached_score_that_is_damaged_is_not_taken(tmp_path):
    """Whatever byte of a page is another one."""
    cache = ScoreCache(tmp_path)
    items = [ItemResult(id=str(number), part="all", score=float(number % 2), logprobs=(-1.5, -2.5)) for number in range(200)]
    cache.write("key", {"evaluate_seconds": 1.0}, items)
    assert cache.read("key") == ({"evaluate_seconds": 1.0}, items)
    file = tmp_path / "scores" / "key.parquet"
    whole = file.read_bytes()
    for place in range(200, len(whole) // 2, 97):
        content = bytearray(whole)
        content[place] ^= 0x10
        file.write_bytes(content)
        found = cache.read("key")
        assert found is None or found[1] == items
    file.write_bytes(whole[:-10])
    assert cache.read("key") is None


def test_metrics_that_cannot_be_written_are_no_failed_row(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    said = r"cannot be written: .*What was finished before is kept"
    with pytest.raises(StorageError, match=said), MetricsFile(tmp_path / "logs", 1):
        pass


def test_retry_failed_forgets_failures_first(cli, tmp_path, tiny_folder):
    (tmp_path / "r.yaml").write_text(
        f"model: {tiny_folder}\nbenchmarks: {{wmdp: {{source: 'sandbox:wmdp'}}}}\ndtype: float32\nlimit: 1\n"
        "topics: {bio: {forget: 'sandbox:corpora:bio-forget', retain: 'sandbox:corpora:retain', parts: [wmdp/bio]}}\n"
        "methods: {rmu: {layer: 3, coefficient: 1.0e+30, steps: 2, batch_size: 2, max_length: 24}}\n"
    )
    arguments = ("compare", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert "diverged" in cli(*arguments).err
    assert "unlearning" not in cli(*arguments).err
    retried = cli(*arguments, "--retry-failed")
    assert retried.code == 1
    assert "rmu, seed 0: unlearning" in retried.err
    assert "none, seed 0" not in retried.err


def test_temporary_files_of_the_dead_are_known(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    own = tmp_path / "x"
    write_atomic(own, b"1")
    living = tmp_path / f".{_owner()}-abc.tmp"
    assert not left_behind(living)
    assert left_behind(tmp_path / f".{_owner().replace(str(os.getpid()), str(dead.pid), 1)}-abc.tmp")
    assert not left_behind(tmp_path / f".{dead.pid}@elsewhere-abc.tmp")
    assert not left_behind(tmp_path / ".abc.tmp")


def test_disk_that_takes_no_more(tmp_path, tiny_folder):
    """A real write error, by a limit on the size of files, as the delta is written: the baseline stays, and one can go on."""
    (tmp_path / "r.yaml").write_text(
        f"model: {tiny_folder}\nbenchmarks: {{wmdp: {{source: 'sandbox:wmdp'}}}}\ndtype: float32\nlimit: 1\n"
        "topics: {bio: {forget: 'sandbox:corpora:bio-forget', retain: 'sandbox:corpora:retain', parts: [wmdp/bio]}}\n"
        "methods: {scrub: {steps: 2, batch_size: 2, max_length: 24}}\n"
    )
    line = [sys.executable, "-m", "unlearnbench", "compare", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(tmp_path / "cache")}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    full = subprocess.run(line, capture_output=True, text=True, env=environment, preexec_fn=limit, check=False)
    assert full.returncode == 1, full.stderr
    last = full.stderr.strip().splitlines()[-1]
    assert "delta.safetensors cannot be written: File too large. What was finished before is kept" in last
    assert "Traceback" not in full.stderr
    cells = {path: path.read_bytes() for path in (tmp_path / "run" / "cells").rglob("*.json")}
    assert [path.parts[-3] for path in cells] == ["none"]
    assert not list((tmp_path / "run").rglob("*.tmp"))
    again = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in cells} == cells


def test_folder_that_turns_read_only():
    """Tried as a user who is not root, whom permissions do not hold back."""
    code = "import os, sys; from pathlib import Path; from unlearnbench.system.files import write_atomic\n"
    code += "os.geteuid() or os.setresuid(65534, 65534, 65534)\n"  # after the imports: not everybody may read the interpreter
    code += "write_atomic(Path(sys.argv[1]) / 'cells' / 'x.json', b'1')"
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        outcome = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=False)
        os.chmod(name, 0o755)
    assert (
        outcome.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "x.json cannot be written: Permission denied. What was finished before is kept; give yourself write permission; "
            "the same command goes on from there."
        )
    )


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "free some room"), (errno.EROFS, "mounted read-only")])
def test_advice_follows_the_error(number, advice):
    said = str(StorageError.of(Path("runs/x"), OSError(number, os.strerror(number))))
    assert said.startswith(f"runs/x cannot be written: {os.strerror(number)}. What was finished before is kept; ")
    assert advice in said


def test_full_disk_while_metrics_are_written_stays_a_full_disk(tmp_path):
    """Closing the file tries to write once more, and must not turn the error into another."""
    import torch

    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left on device"), MetricsFile(tmp_path, 1) as metrics:
        metrics.write(0, {"loss": [torch.tensor(1.0)]})
