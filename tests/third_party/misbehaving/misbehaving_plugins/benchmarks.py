"""A benchmark that scores one item and then goes wrong, in a way that its option says."""

import ctypes
import os
import sys
import time

import torch

from unlearnbench.api import Benchmark, BenchmarkSpec, ItemResult, Metric, hookimpl


class Misbehaves(Benchmark):
    """Raises, leaves, crashes, hangs, or changes the model that it is given; or stumbles as it is made."""

    def __init__(self, *, how: str = "raises") -> None:
        if how == "stumbles":
            raise RuntimeError("no such file")
        self._how = how

    @property
    def metric(self) -> Metric:
        return Metric(role="retain", chance=0.0)

    def digest(self) -> str:
        return "always the same"

    def count(self, limit):
        return 2

    def parts(self):
        return ["all"]

    def evaluate(self, subject):
        print("rubbish of a benchmark")
        yield ItemResult(id="0", part="all", score=float(torch.rand(())))
        if self._how == "raises":
            raise RuntimeError("no such question")
        if self._how == "leaves":
            sys.exit(0)
        if self._how == "exits":
            os._exit(3)
        if self._how == "segfaults":
            ctypes.string_at(0)
        while self._how == "hangs":
            time.sleep(0.1)
        if self._how == "meddles":
            with torch.no_grad():
                subject.model.get_input_embeddings().weight.mul_(-1.0)
        yield ItemResult(id="1", part="all", score=1.0)


@hookimpl
def unlearnbench_benchmarks():
    return [BenchmarkSpec(name="misbehaves", factory=Misbehaves, summary="", source="")]
