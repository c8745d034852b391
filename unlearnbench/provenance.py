"""Where a number comes from: recorded with every cell and shown, so that it can be trusted or doubted."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from unlearnbench import __version__
from unlearnbench.plan import BenchmarkPlan, JobPlan, TopicData


def last_frames(error: Exception) -> list[str]:
    """The last frames, without the folders they lie in: a cell is for publishing."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]


def cell_provenance(
    plan: JobPlan, column: BenchmarkPlan, topics: Sequence[TopicData], *, dtype: str, limit: int | None, weights: str | None
) -> dict[str, Any]:
    """Everything a cell's numbers depend on, for the record."""
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
        "noise_of": variant.noise_of,
        "budget": vars(variant.training) if variant.training else None,
        "topics": {t.name: {"forget": t.forget.digest, "retain": t.retain.digest} for t in topics} if variant.training else {},
        "benchmark_distribution": f"{column.plugin.info.distribution} {column.plugin.info.version}",
        "benchmark_source": column.plugin.source_hash,
        "benchmark_options": column.options,
        "data": column.benchmark.digest(),
        "data_revision": column.benchmark.revision(),
        "dtype": dtype,
        "limit": limit,
        "half": column.half,
        "seed": plan.job.seed,
        "unlearnbench": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def environment(device: torch.device) -> dict[str, Any]:
    """Where a score was computed: recorded, not hashed."""
    import transformers

    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def peak_bytes() -> int | None:
    """Largest resident memory of this process so far, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
