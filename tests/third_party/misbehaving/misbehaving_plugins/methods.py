"""Methods that go wrong in their constructor or in a step."""

import ctypes
import os
import random
import signal
import sys
import time

import torch

from misbehaving_plugins.well_behaved import WellBehaved
from unlearnbench.api import MethodSpec, Training, hookimpl

STEP = 1  # the update in which they go wrong: the first one was well


class RaisesInConstructor(WellBehaved):
    def __init__(self, model):
        raise RuntimeError("no such block")


class RaisesInStep(WellBehaved):
    def training_step(self, batch, batch_idx):
        if batch_idx == STEP:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.zero_()
            raise RuntimeError("out of luck")
        return super().training_step(batch, batch_idx)


class NotANumber(WellBehaved):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (float("nan") if batch_idx == STEP else 1.0)


class Explodes(WellBehaved):
    """Its loss stays finite and grows a thousand times in each update."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 1000.0**batch_idx

    def configure_optimizers(self):
        return torch.optim.SGD(self.trainable(), lr=1e-12)


class Leaves(WellBehaved):
    def training_step(self, batch, batch_idx):
        if batch_idx == STEP:
            sys.exit(0)
        return super().training_step(batch, batch_idx)


class Exits(WellBehaved):
    def training_step(self, batch, batch_idx):
        if batch_idx == STEP:
            os._exit(3)
        return super().training_step(batch, batch_idx)


class Segfaults(WellBehaved):
    def training_step(self, batch, batch_idx):
        if batch_idx == STEP:
            ctypes.string_at(0)
        return super().training_step(batch, batch_idx)


class Hangs(WellBehaved):
    def training_step(self, batch, batch_idx):
        while batch_idx == STEP:
            time.sleep(0.1)
        return super().training_step(batch, batch_idx)


class Hoards(WellBehaved):
    """Takes memory until there is none, or it is stopped."""

    def training_step(self, batch, batch_idx):
        hoard = []
        while batch_idx == STEP:
            hoard.append(torch.ones(4 * 2**20))  # 16 MB
            time.sleep(0.005)
        return super().training_step(batch, batch_idx)


class Swallows(WellBehaved):
    """Asks its process to stop, as a batch system may at any moment, and goes on as if nothing had happened."""

    def training_step(self, batch, batch_idx):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
        except BaseException:
            pass
        return super().training_step(batch, batch_idx)


class Meddles(WellBehaved):
    """Changes whatever is shared: generators, default dtype, environment, weights that it does not train."""

    def changing(self):
        return {"model.norm.weight": self.model.get_parameter("model.norm.weight")}

    def on_train_end(self):
        torch.manual_seed(99)
        random.seed(99)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        os.environ["OMP_NUM_THREADS"] = "many"
        with torch.no_grad():
            self.model.get_input_embeddings().weight.data.mul_(-1.0)
        self.model.model.register_forward_hook(lambda module, inputs, output: output)


METHODS = {
    "raises-in-constructor": RaisesInConstructor,
    "raises-in-step": RaisesInStep,
    "not-a-number": NotANumber,
    "explodes": Explodes,
    "leaves": Leaves,
    "exits": Exits,
    "segfaults": Segfaults,
    "hangs": Hangs,
    "hoards": Hoards,
    "meddles": Meddles,
    "swallows": Swallows,
}


@hookimpl
def unlearnbench_methods():
    budget = Training(steps=4, batch_size=2, max_length=32)
    return [MethodSpec(name=name, factory=one, summary="", source="", training=budget) for name, one in METHODS.items()]
