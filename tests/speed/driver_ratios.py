"""What the driver of a large comparison takes for each of its cells, and `--dry-run` for all of them, against their limits."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from figures import RUNS, report, run, script

ROWS, SEEDS = 500, 5  # with four benchmarks 10,000 cells, and the base's
MILLISECONDS = 20.0  # of the driver's processor time for a cell
PLAN_SECONDS = 5.0  # until a plan of as many cells is there


def driver() -> None:
    """Processor time of a cell over the limit: all but training and scoring, with and without writing the cell."""
    with tempfile.TemporaryDirectory() as place:
        found = [script("driver_side.py", Path(place) / str(number), ROWS, SEEDS) for number in range(RUNS)]
    report("driver-cell", [one.said["milliseconds"] / MILLISECONDS for one in found], "below 1")
    report("driver-cell-with-writing", [one.said["milliseconds_with_writing"] / MILLISECONDS for one in found], "below 1")
    said = found[0].said
    print(
        f"driver {said['cells']} cells, {said['milliseconds']:.2f} ms a cell, {said['peak_bytes'] / 2**20:.0f} MiB", flush=True
    )


def dry_run() -> None:
    """Seconds of `compare --dry-run` over the limit, nothing known beforehand."""
    with tempfile.TemporaryDirectory() as place:
        script("driver_side.py", place, ROWS, SEEDS, "recipe")
        words = ("compare", Path(place) / "recipe.yaml", "--dry-run", "--device", "cpu", "--out", Path(place) / "run")
        command = (sys.executable, "-m", "unlearnbench", *words)
        found = [run(*command, UNLEARNBENCH_CACHE=str(Path(place) / f"cache-{number}")) for number in range(RUNS)]
    report("driver-plan-seconds", [one.seconds / PLAN_SECONDS for one in found], "below 1")


FIGURES = {"driver": driver, "driver-plan": dry_run}
