"""What the others are compared with: descends on the retain corpus, draws random numbers, prints nothing."""

import torch

from unlearnbench.api import MethodSpec, Training, UnlearningMethod, hookimpl


class WellBehaved(UnlearningMethod):
    """Moves every weight a little, with noise of the global generator."""

    def training_step(self, batch, batch_idx):
        return self.nll(batch["retain"]) + torch.randn(()) * self.nll(batch["forget"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.trainable(), lr=1e-2)


@hookimpl
def unlearnbench_methods():
    budget = Training(steps=3, batch_size=2, max_length=32)
    return [MethodSpec(name="well-behaved", factory=WellBehaved, summary="", source="", training=budget)]
