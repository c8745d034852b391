"""Answering MT-Bench in batches against one question at a time, SmolLM2-135M in float32, whole processes."""

from __future__ import annotations

import os
from collections.abc import Callable

from figures import Usage, interleaved, real_data, real_model, report, script

QUESTIONS = os.environ.get("UNLEARNBENCH_SPEED_QUESTIONS", "3")  # of each of the eight categories
TOKENS = os.environ.get("UNLEARNBENCH_SPEED_TOKENS", "128")  # of an answer at most


def side(name: str) -> Callable[[], Usage]:
    """One whole process."""
    return lambda: script("generate_side.py", real_model(), real_data() / "mt_bench", QUESTIONS, TOKENS, name)


def generate() -> None:
    """Seconds per token of the rival over ours: sampled answers differ in length."""
    pairs = interleaved(side("one-by-one"), side("ours"))
    said = [
        f"{theirs.seconds:.1f}/{own.seconds:.1f} s for {theirs.said['tokens']}/{own.said['tokens']}" for theirs, own in pairs
    ]
    print(f"mtbench-generate: one by one/ours: {', '.join(said)} tokens")
    ratios = [(theirs.seconds / theirs.said["tokens"]) / (own.seconds / own.said["tokens"]) for theirs, own in pairs]
    report("mtbench-generate", ratios, ">= 5")


FIGURES: dict[str, Callable[[], None]] = {"mtbench-generate": generate}
