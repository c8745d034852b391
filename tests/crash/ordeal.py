"""Kill a small comparison at random moments until it is done, and compare it with one that nobody disturbed.

    python tests/crash/ordeal.py --kills 60 [--seed N] [--executor isolated]

A moment is a line of progress, drawn from those of the undisturbed run, and up to a quarter of a second after it: so kills fall
into training, writing a delta, scoring and writing the table, and not into imports only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AFTER_LINE_SECONDS = 0.25
RECIPE = """
model: {model}
topics:
  bio: {{forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}
benchmarks: {{wmdp: {{source: "sandbox:wmdp"}}, mmlu: {{source: "sandbox:mmlu"}}}}
dtype: float32
limit: 3
methods:
  rmu: {{layer: 3, lr: 1.0e-3, steps: 6, batch_size: 2, max_length: 24}}
  scrub: {{lr: 1.0e-4, steps: 4, batch_size: 2, max_length: 24}}
attacks:
  quantize:8: {{}}
  relearn: {{steps: 2, rates: [1.0e-3], batch_size: 2, max_length: 24}}
"""


@dataclass
class Ordeal:
    """One comparison that is killed again and again; `killed` counts, `moments` are the lines it was killed after."""

    folder: Path
    model: Path
    executor: str = "local"
    killed: int = 0
    moments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "r.yaml").write_text(RECIPE.format(model=self.model))

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def start(self, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "unlearnbench", "compare", str(self.folder / "r.yaml"), "--executor", self.executor]
        environment = {**os.environ, "UNLEARNBENCH_CACHE": str(self.folder / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*command, "--out", str(self.folder / name)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip

    def undisturbed(self) -> tuple[dict[str, Any], int]:
        """The numbers of a whole run, and how many lines of progress it has."""
        with self.start("whole") as process:
            assert process.stderr is not None
            lines = process.stderr.read().splitlines()
        assert process.returncode == 0, lines
        return numbers(self.folder / "whole"), len(lines)

    def kill_once(self, chance: random.Random, lines: int) -> bool:
        """Go on with the comparison and kill it at a random moment; whether it was done before that."""
        before = finished(self.run)
        wanted = chance.randrange(lines)
        with self.start("run") as process:
            assert process.stderr is not None
            last = ""
            for _ in range(wanted):
                last = process.stderr.readline() or last
            time.sleep(chance.uniform(0, AFTER_LINE_SECONDS))
            done = process.poll() is not None
            process.kill()
        assert_kept(before, finished(self.run))
        if not done:
            self.killed += 1
            self.moments.append(last.strip())
        return done

    def finish(self) -> dict[str, Any]:
        """Let it come to its end; the numbers of its table."""
        before = finished(self.run)
        with self.start("run") as process:
            assert process.stderr is not None
            said = process.stderr.read()
        assert process.returncode == 0, said
        assert_kept(before, finished(self.run))
        assert "set-aside" not in {path.name for path in self.run.iterdir()}, said
        assert not list(self.run.rglob("*.tmp")), "a killed process left a temporary file that nobody removed"
        return numbers(self.run)

    def again(self) -> None:
        """Begin with an empty folder."""
        shutil.rmtree(self.run)
        shutil.rmtree(self.folder / "cache-run", ignore_errors=True)


def finished(run: Path) -> dict[Path, tuple[int, bytes]]:
    """Every record that says that a cell or a delta is whole: when it was written, and what it says."""
    records = [*run.glob("cells/*/*/*.json"), *run.glob("attacked/*/*/*/*.json"), *run.glob("deltas/*/*/manifest.json")]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in records}


def assert_kept(before: dict[Path, tuple[int, bytes]], after: dict[Path, tuple[int, bytes]]) -> None:
    """Nothing that was finished is lost or written a second time."""
    for path, written in before.items():
        assert after.get(path) == written, f"{path} was finished, and is lost or computed again"


def numbers(run: Path) -> dict[str, Any]:
    """The table without what depends on the clock."""
    board = json.loads((run / "leaderboard.json").read_text())
    for row in board["rows"]:
        del row["cost"]
    return board


def phase_of(line: str) -> str:
    """What was going on after a line of progress."""
    if line.endswith(")") and ": unlearning (" in line:
        return "training, writing the delta"
    if re.fullmatch(r"\S+, seed \d+: \S+ under \S+ \(\d+\)", line):
        return "attacking, putting the model back, writing a cell"
    if re.fullmatch(r"\S+, seed \d+: \S+ \(\d+\)", line):
        return "scoring, writing a cell"
    return "writing the table, beginning the next job" if re.match(r"\S+/\S+/\d+(!\S+)?: ", line) else "starting"


def endure(ordeal: Ordeal, kills: int, chance: random.Random) -> None:
    """Kill it so many times, beginning anew whenever it is done, and hold every table to the undisturbed one."""
    whole, lines = ordeal.undisturbed()
    done = False
    while ordeal.killed < kills:
        done = ordeal.kill_once(chance, lines)
        if done:
            assert numbers(ordeal.run) == whole
            ordeal.again()
        print(f"kill {ordeal.killed}: after '{ordeal.moments[-1] if ordeal.moments else ''}'", file=sys.stderr)
    assert ordeal.finish() == whole


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--executor", default="local")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", file=sys.stderr)
    from conftest import tiny_llama

    from unlearnbench.data.sources import sandbox_folder
    from unlearnbench.models.loading import load_tokenizer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_llama().save_pretrained(folder / "model")
        load_tokenizer(sandbox_folder() / "model").save_pretrained(folder / "model")
        ordeal = Ordeal(folder, folder / "model", wanted.executor)
        endure(ordeal, wanted.kills, random.Random(wanted.seed))
    for phase, count in Counter(map(phase_of, ordeal.moments)).most_common():
        print(f"{count:3} while {phase}")
    print(f"{ordeal.killed} kills ({wanted.executor}), seed {wanted.seed}: nothing lost, nothing computed twice, same table")


if __name__ == "__main__":
    main()
