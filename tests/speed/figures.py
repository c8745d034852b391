"""How a figure of `make speed` is measured and printed: ratios of processes, interleaved, so that drift cancels."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUNS = int(os.environ.get("UNLEARNBENCH_SPEED_RUNS", "3"))
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Unavailable(Exception):
    """Why a figure cannot be measured here."""


@dataclass(frozen=True)
class Usage:
    """What one process took, start-up included, and what it said on its last line of standard output."""

    seconds: float
    peak_bytes: int
    said: Any


def run(*command: str | Path, **environment: str) -> Usage:
    """Run a command to its end; its last line of output is read as JSON where it is."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if not sys.stderr.isatty() else None,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment},
    )
    out, err = process.communicate()
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}:\n{(err or '')[-2000:]}")
    lines = out.strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else None
    except ValueError:
        said = lines[-1]
    return Usage(seconds, _peak_of(said), said)


def script(name: str, *arguments: object, **environment: str) -> Usage:
    """Run one of this folder's scripts; it prints its own peak as `peak_bytes`."""
    return run(sys.executable, HERE / name, *map(str, arguments), **environment)


def _peak_of(said: Any) -> int:
    return int(said.get("peak_bytes", 0)) if isinstance(said, dict) else 0


def peak_bytes() -> int:
    """Largest resident memory of this process so far; scripts print it."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes() -> int:
    """Resident memory of this process now; scripts take it once everything is imported."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def interleaved(*sides: Callable[[], Usage], runs: int = RUNS) -> list[tuple[Usage, ...]]:
    """Run the sides in turn, A B A B, so that a machine that slows down slows both."""
    return [tuple(side() for side in sides) for _ in range(runs)]


def report(name: str, values: Sequence[float], target: str) -> None:
    """Print one figure: `ratio NAME MEDIAN (MIN-MAX) target T`."""
    middle, low, high = statistics.median(values), min(values), max(values)
    print(f"ratio {name} {middle:.2f} ({low:.2f}-{high:.2f}) target {target}", flush=True)


def real_model() -> Path:
    """SmolLM2-135M-Instruct as a folder: `UNLEARNBENCH_SMOLLM2`, else fetched once into runs/."""
    folder = Path(os.environ.get("UNLEARNBENCH_SMOLLM2", ROOT / "runs" / "smollm2"))
    if not (folder / "model.safetensors").is_file():
        subprocess.run([sys.executable, str(ROOT / "examples/tofu_authors/fetch_smollm2.py"), str(folder)], check=True)
    return folder


def real_data() -> Path:
    """The folder of MMLU and WMDP; raises Unavailable where there is none."""
    folder = Path(os.environ.get("UNLEARNBENCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise Unavailable(f"the real data are not at {folder}; set UNLEARNBENCH_DATA to their folder")
    return folder
