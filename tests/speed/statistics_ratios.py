"""What a table with every interval, test, verdict and rank costs: time and memory against their limits, and the curve."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from figures import RUNS, Usage, report, script

SEEDS = 5
ITEMS = 17_000  # of each seed; see make_run.py
LIMITS = {30: 20.0, 100: 120.0}  # variants -> seconds on two cores
MEMORY = 2 * 2**30
ROSTER, MEASURES_SECONDS = 22, 40.0
CURVE = (5, 10, 20, 40, 80)


def usages(variants: int, runs: int = RUNS) -> list[Usage]:
    """Tables of a made-up comparison."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        script("make_run.py", folder, variants, SEEDS)
        return [script("table_of.py", folder) for _ in range(runs)]


def leaderboard_time() -> None:
    """Seconds over the limit, for 30 and 100 variants."""
    for variants, limit in LIMITS.items():
        found = usages(variants)
        report(f"leaderboard-{variants}x{SEEDS}-seconds", [one.seconds / limit for one in found], "below 1")
        report(f"leaderboard-{variants}x{SEEDS}-memory", [one.peak_bytes / MEMORY for one in found], "below 1")


def measures_time() -> None:
    """Seconds and memory over their limits, for eight measures of one benchmark, 22 variants and a reference."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        script("make_measures.py", folder, ROSTER, SEEDS)
        found = [script("table_of.py", folder) for _ in range(RUNS)]
    report(f"measures-{ROSTER}x{SEEDS}-seconds", [one.seconds / MEASURES_SECONDS for one in found], "below 1")
    report(f"measures-{ROSTER}x{SEEDS}-memory", [one.peak_bytes / MEMORY for one in found], "below 1")


def leaderboard_curve() -> None:
    """Seconds by variants; beyond the start-up a straight line, with the pairs on top."""
    for variants in CURVE:
        found = usages(variants)
        seconds, peak = statistics.median(one.seconds for one in found), max(one.peak_bytes for one in found)
        spent = statistics.median(one.said["cpu_seconds"] for one in found)
        pairs, cells = found[0].said["pairs"], 3 * (variants * SEEDS + 1)
        figures = f"{seconds:.1f} s, {spent:.1f} s of processor time, {peak / 2**20:.0f} MiB"
        print(f"curve leaderboard {variants} variants, {cells} cells, {pairs} pairs: {figures}", flush=True)


FIGURES = {"leaderboard": leaderboard_time, "measures": measures_time, "leaderboard-curve": leaderboard_curve}
