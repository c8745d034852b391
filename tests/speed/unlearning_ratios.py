"""What the engine gains over loops that are written as the methods' definitions read; see docs/performance.md."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

from figures import ROOT, RUNS, Usage, interleaved, real_model, report, script

GIB = 2**30
# glibc keeps freed blocks below this size for later and can hold twice what is needed; both sides of a memory figure give
# theirs back at once, which costs time, so that times are taken in runs of their own
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
MEMORY_RUNS = 2  # they hardly differ


def _rmu(name: str, topics: int, dtype: str, target: str) -> None:
    """Seconds of an update, naive / ours: whole updates with their optimizer, loading apart."""
    model = real_model()
    runs = interleaved(
        lambda: script("rmu_update.py", "naive", model, topics, dtype, 6),
        lambda: script("rmu_update.py", "ours", model, topics, dtype, 12),
    )
    report(name, [naive.said["seconds"] / ours.said["seconds"] for naive, ours in runs], target)


def rmu_step() -> None:
    _rmu("rmu-step", 1, "float32", ">= 6.5")


def rmu_step_bf16() -> None:
    _rmu("rmu-step-bf16", 1, "bfloat16", "none")


def rmu_step_two_topics() -> None:
    _rmu("rmu-step-two-topics", 2, "float32", ">= 7")


def _memory(name: str, runs: list[tuple[Usage, ...]], target: str) -> None:
    """Peak of the process beyond what it holds once everything is imported: the model's share of it, naive / ours."""
    report(name, [naive.said["beyond_imports"] / ours.said["beyond_imports"] for naive, ours in runs], target)
    report(f"{name}-with-imports", [naive.peak_bytes / ours.peak_bytes for naive, ours in runs], "none")


def rmu_memory() -> None:
    model = real_model()
    runs = interleaved(
        lambda: script("rmu_update.py", "naive", model, 1, "float32", 3, **GIVE_BACK),
        lambda: script("rmu_update.py", "ours", model, 1, "float32", 3, **GIVE_BACK),
        runs=MEMORY_RUNS,
    )
    _memory("rmu-memory", runs, ">= 4")


def rmu_7b() -> None:
    """Resident memory in GB of one update at Zephyr's shape; the naive loop's need is arithmetic."""
    (ROOT / "runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "runs") as folder:
        said = script("rmu_7b.py", Path(folder) / "model").said
    print(f"rmu-7b: blocks {said['blocks']}, {said['seconds']:.0f} s for {said['updates']} update, loss {said['loss']:.4g}")
    print(f"rmu-7b: the naive loop needs {said['naive_bytes'] / GIB:.1f} GiB for weights, gradients and moments alone")
    report("rmu-7b", [said["peak_bytes"] / 1e9], "< 8 GB resident")


def _distilled(method: str, adapter: str, name: str, targets: tuple[str, str]) -> None:
    model = real_model()

    def sides(updates: int, runs: int, **environment: str) -> list[tuple[Usage, ...]]:
        return interleaved(
            lambda: script("distilled_update.py", "naive", method, adapter, model, updates, **environment),
            lambda: script("distilled_update.py", "ours", method, adapter, model, updates, **environment),
            runs=runs,
        )

    _memory(name, sides(2, MEMORY_RUNS, **GIVE_BACK), targets[0])
    report(f"{name}-time", [naive.said["seconds"] / ours.said["seconds"] for naive, ours in sides(4, RUNS)], targets[1])


def scrub_memory() -> None:
    _distilled("scrub", "lora", "scrub-memory", (">= 1.7", ">= 1"))
    _distilled("scrub", "none", "scrub-memory-all-weights", ("none", "none"))


def llmu_memory() -> None:
    _distilled("llmu", "lora", "llmu-memory", (">= 1.7", ">= 1"))
    _distilled("llmu", "none", "llmu-memory-all-weights", ("none", "none"))


@cache
def _ssd_settings() -> list[float]:
    """Seconds to unlearn with 36 settings / with the first of them: pass, edit, delta and restoring; scoring and disk apart."""
    model = real_model()
    said = [run[0].said for run in interleaved(lambda: script("ssd_grid.py", model, 36))]
    for one in said:
        print(f"ssd-grid: {one['first']:.1f} s for the first setting, {one['all']:.1f} s for all 36")
    return [one["all"] / one["first"] for one in said]


def ssd_grid() -> None:
    report("ssd-grid", _ssd_settings(), "<= 1.3")


def tune_ssd() -> None:
    """The same settings as trials of a search: a trial is such a job."""
    report("tune-ssd", _ssd_settings(), "<= 1.5")


TRIALS = 12


def tune_rmu() -> None:
    """Seconds of 12 runs of their own, processes with start-up / of 12 trials of one search; scoring apart."""
    model = real_model()
    runs = interleaved(
        lambda: script("tune_trials.py", "rmu", model, 1, "alone"),
        lambda: script("tune_trials.py", "rmu", model, TRIALS, "shared"),
    )
    report("tune-rmu", [TRIALS * one.seconds / trials.seconds for one, trials in runs], ">= 1.7")


def framework() -> None:
    """Share of a fit's wall time outside loss, backward and optimizer: Lightning, batches, logging, our callbacks."""
    runs = interleaved(lambda: script("framework_share.py", real_model(), UNLEARNBENCH_CACHE=_cache()))
    report("framework", [run[0].said["share"] for run in runs], "< .05")


def _cache() -> str:
    return os.environ.get("UNLEARNBENCH_CACHE", str(ROOT / "runs" / "cache"))


FIGURES = {
    "rmu-step": rmu_step,
    "rmu-step-bf16": rmu_step_bf16,
    "rmu-step-two-topics": rmu_step_two_topics,
    "rmu-memory": rmu_memory,
    "rmu-7b": rmu_7b,
    "scrub-memory": scrub_memory,
    "llmu-memory": llmu_memory,
    "ssd-grid": ssd_grid,
    "tune-ssd": tune_ssd,
    "tune-rmu": tune_rmu,
    "framework": framework,
}
