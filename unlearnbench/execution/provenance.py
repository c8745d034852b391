"""The provenance of a number: recorded with every cell and shown, so that it can be checked."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from unlearnbench import __version__
from unlearnbench.data.sources import public_name
from unlearnbench.data.topics import TopicData
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan
from unlearnbench.plugins.fingerprint import scoring_hash, training_hash
from unlearnbench.records.recipe import TrainerOptions


def last_frames(error: BaseException) -> list[str]:
    """Return the last frames, without the folders they lie in: a cell is for publishing."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]


def cell_provenance(
    plan: JobPlan,
    column: BenchmarkPlan,
    topics: Sequence[TopicData],
    trainer: TrainerOptions,
    *,
    dtype: str,
    limit: int | None,
    weights: str | None,
) -> dict[str, Any]:
    """Return everything a cell's numbers depend on, for the record."""
    variant = plan.variant
    method = variant.plugin
    return {
        "model": variant.model,
        "base_weights": variant.weights,
        "weights": weights,
        "method": variant.method,
        "method_distribution": f"{method.info.distribution} {method.info.version}" if method else None,
        "method_source": method.source_hash if method else None,
        "method_options": variant.options,
        "derived_from": variant.derived_from,
        "budget": vars(variant.training) if variant.training else None,
        "trainer": trainer.identity() if variant.training else None,
        "topics": {t.name: _corpora(t) for t in topics} if variant.training else {},
        "corpora": {t.name: _names(t) for t in topics} if variant.training else {},
        "benchmark_distribution": f"{column.plugin.info.distribution} {column.plugin.info.version}",
        "benchmark_source": column.plugin.source_hash,
        "benchmark_options": column.deciding,
        "data": column.benchmark.digest(),
        "data_revision": column.benchmark.revision(),
        "prompt_version": column.benchmark.prompt_version,
        "dtype": dtype,
        "limit": limit,
        "half": column.half,
        "seed": plan.job.seed,
        "unlearnbench": __version__,
        "training_source": training_hash() if variant.training else None,
        "scoring_source": scoring_hash(),
        "git": git_state(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _corpora(topic: TopicData) -> dict[str, str | None]:
    """Return the origin of a topic's corpora: hashes of their rows, and commits where they came from the hub."""
    sides = (("forget", topic.forget), ("retain", topic.retain))
    hashes: dict[str, str | None] = {name: table.digest for name, table in sides}
    return hashes | {f"{name}_revision": table.revision for name, table in sides if table.revision}


def _names(topic: TopicData) -> dict[str, str]:
    return {"forget": public_name(topic.forget.origin), "retain": public_name(topic.retain.origin)}


@cache
def git_state() -> dict[str, Any] | None:
    """Return the commit of the working copy that the command was started in, and whether it was changed; None outside
    of one.
    """
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    line = ["git", "--no-optional-locks", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


LIBRARIES = ("torch", "transformers", "lightning", "datasets", "peft", "tokenizers", "safetensors", "numpy")


def environment(device: torch.device) -> dict[str, Any]:
    """Return the machine and libraries that a score was computed on: recorded, not hashed."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
        **({"cuda": torch.version.cuda} if device.type == "cuda" else {}),
    }


def reset_peak() -> None:
    """Begin to measure memory anew, where the system lets a process do so."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the high-water mark falls back to what is resident now
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_bytes() -> int | None:
    """Return the largest resident memory of this process since `reset_peak`, where the system tells; else since its start."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
