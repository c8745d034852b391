"""Gradient difference: ascend on forget texts, descend on retain texts.

Source: Liu et al., "Continual Learning and Private Unlearning", arXiv:2203.12817.
Deviations: none.
"""

import torch

from unlearnbench.api import MethodSpec, Training, UnlearnBatch, UnlearningMethod, hookimpl


class GradDiff(UnlearningMethod):
    """Raise the forget loss, lower the retain loss."""

    def __init__(self, model, *, lr: float = 1e-3, retain_weight: float = 1.0) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.lr, self.retain_weight = lr, retain_weight

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> torch.Tensor:
        forget, retain = self.nll(batch["forget"]), self.nll(batch["retain"])
        self.log_dict({"nll/forget": forget, "nll/retain": retain})
        return self.retain_weight * retain - forget

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="grad-diff-demo",
            factory=GradDiff,
            summary="ascend on forget, descend on retain",
            source="arXiv:2203.12817",
            training=Training(steps=5, batch_size=4, max_length=64),
        )
    ]
