"""Evaluation against lm-eval on the same 410 questions of MMLU, SmolLM2-135M, whole processes."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from figures import Unavailable, Usage, interleaved, real_data, real_model, report, script

SUBJECTS = ("college_biology", "virology", "computer_security")  # 410 questions
BATCH = 16  # lm-eval's


def lm_eval(shots: int, dtype: str) -> Usage:
    """One whole run of lm-eval."""
    if importlib.util.find_spec("lm_eval") is None:
        raise Unavailable("lm-eval is not installed; pip install -c constraints.txt '.[lm-eval]'")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--subjects", ",".join(SUBJECTS), "--shots", shots, "--dtype", dtype, "--batch", BATCH]
        return script("lm_eval_side.py", real_model(), real_data() / "mmlu", Path(folder) / "scores.json", *options)


def ours(shots: int, dtype: str) -> Usage:
    """One whole `unlearnbench evaluate`, with an empty cache."""
    settings = {"source": real_data() / "mmlu", "subjects": f"[{','.join(SUBJECTS)}]", "shots": shots}
    with tempfile.TemporaryDirectory() as folder:
        options = [word for name, value in settings.items() for word in ("--set", f"mmlu.{name}={value}")]
        places = ["--out", Path(folder) / "run", "--cache", Path(folder) / "cache"]
        return script("evaluate_side.py", real_model(), "--benchmarks", "mmlu", "--dtype", dtype, *options, *places)


def against_lm_eval(name: str, shots: int, dtype: str, target: str) -> None:
    """Wall clock of lm-eval over ours."""
    pairs = interleaved(partial(lm_eval, shots, dtype), partial(ours, shots, dtype))
    seconds = [f"{theirs.seconds:.1f}/{own.seconds:.1f}" for theirs, own in pairs]
    print(f"{name}: seconds, lm-eval/ours: {', '.join(seconds)}")
    report(name, [theirs.seconds / own.seconds for theirs, own in pairs], target)
    if name == "0shot-fp32":
        report("memory", [theirs.peak_bytes / own.peak_bytes for theirs, own in pairs], ">= 1")


def limit() -> None:
    """Share of the physical limit."""
    sides = partial(script, "limit_side.py", real_model(), real_data() / "mmlu", ",".join(SUBJECTS), "bfloat16")
    runs = [usage.said for (usage,) in interleaved(sides)]
    said = [f"{run['seconds']:.1f} s at {run['gflops']:.0f} GFLOP/s" for run in runs]
    print(f"limit-bf16: {', '.join(said)}")
    report("limit-bf16", [run["share"] for run in runs], ">= .75")


FIGURES: dict[str, Callable[[], None]] = {
    "5shot-bf16": partial(against_lm_eval, "5shot-bf16", 5, "bfloat16", ">= 8"),
    "5shot-fp32": partial(against_lm_eval, "5shot-fp32", 5, "float32", ">= 6"),
    "0shot-bf16": partial(against_lm_eval, "0shot-bf16", 0, "bfloat16", ">= 2.3"),
    "0shot-fp32": partial(against_lm_eval, "0shot-fp32", 0, "float32", ">= 2.0"),
    "limit-bf16": limit,
}
