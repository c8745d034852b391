"""Two methods in one module: one raises in its first step, one returns a loss that is not a number."""

import torch

from unlearnbench.api import MethodSpec, Training, UnlearningMethod, hookimpl


class Fails(UnlearningMethod):
    """Changes the weights, then raises."""

    def training_step(self, batch, batch_idx):
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
        raise RuntimeError("out of luck")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Diverges(UnlearningMethod):
    """Its loss is not a number."""

    def training_step(self, batch, batch_idx):
        return self.nll(batch["forget"]) * float("nan")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


@hookimpl
def unlearnbench_methods():
    budget = Training(steps=2, batch_size=2, max_length=32)
    return [
        MethodSpec(name="fails-in-step", factory=Fails, summary="", source="", training=budget),
        MethodSpec(name="diverges", factory=Diverges, summary="", source="", training=budget),
    ]
