"""Prints while it is imported; works otherwise."""

import torch

from unlearnbench.api import MethodSpec, Training, UnlearningMethod, hookimpl

print("Welcome to talkative 1.0!")


class Talkative(UnlearningMethod):
    """Ascends on forget texts."""

    def __init__(self, model, *, lr: float = 1e-3) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.lr = lr

    def training_step(self, batch, batch_idx):
        return -self.nll(batch["forget"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.trainable(), lr=self.lr)


@hookimpl
def unlearnbench_methods():
    budget = Training(steps=2, batch_size=2, max_length=32)
    return [MethodSpec(name="talkative", factory=Talkative, summary="ascend", source="made up", training=budget)]
