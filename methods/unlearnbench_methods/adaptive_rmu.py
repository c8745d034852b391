"""Adaptive RMU: RMU with a target whose length follows the norm of the model's own activations on forget texts.

Source: Dang et al., "On Effects of Steering Latent Representation for Large Language Model Unlearning", AAAI 2025,
    arXiv:2408.06223; its public code, which measures once.
    L = MSE(h_l(x_forget), c u) + alpha MSE(h_l(x_retain), h_l^0(x_retain)),  c = s mean ||h_l^0(x)||, h_l the output of
    block l, 0-based; the mean is over the tokens of the topic's first forget batch.
Deviations:
    - c is one length per topic, as in the public code; by the paper's words each token could have its own.
    - The mean norm is over real tokens; the public code counts padding, whose activations are no text's.
    - It is measured before the first update, for every topic on the untouched model; the public code measures a topic after
      the topics before it have had an update.
    - Parameters are chosen by name, only they get gradients, there is one model and no forward beyond block l, control vectors
      are drawn on the CPU in float32, and a corpus that runs out starts again: all as in rmu.
Streams: forget and retain of one topic per update, topics in turn. Padding on the left, as in RMU's reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    IGNORE,
    OUTPUT_PROJECTION,
    BlockOutputs,
    Log,
    MethodSpec,
    ReferenceAdamW,
    ShareOf,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    check_per_topic,
    control_vector,
    hookimpl,
    mean_square,
    per_topic,
    select_parameters,
    train_only,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINED_BLOCKS = 3  # l-2, l-1 and l


class AdaptiveRMU(UnlearningMethod):
    """Representation misdirection with a measured coefficient. Defaults: the public code's for Zephyr-7B.

    Args:
        model: a decoder-only language model.
        layer: block whose output is steered, 0-based.
        layers: trained blocks; None means `layer` and the two below it.
        parameters: regular expression for the trained parameters of these blocks.
        scale: length s of the target, in mean norms of the untouched model's activations on forget texts.
        alpha: weight of the retain term; one number, or one per topic.
        lr: learning rate, constant.
        eps: AdamW's epsilon, added before bias correction as in RMU's reference.
        weight_decay: decoupled weight decay.
        master_weights: true steps float32 copies of narrower weights; the reference steps bfloat16 weights themselves.
        masked: true counts tokens with labels only, no padding and no prompts, each sequence weighing the same; the reference
            counts padding, too.
        vector: `uniform` draws each coordinate from [0, 1) as the reference does, `gaussian` is isotropic.
        adapter: `lora` trains a low-rank adapter on the chosen matrices, `none` the matrices themselves.
        rank: rank of the adapter.
        diagnostics: updates of a topic between two logs of norms and cosines; 0 logs none.
    """

    padding_side: ClassVar[Literal["left", "right"]] = "left"

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        layer: NonNegativeInt = 7,
        layers: list[int] | None = None,
        parameters: str = OUTPUT_PROJECTION,
        scale: PositiveFloat = 5.0,
        alpha: float | list[float] = 1200.0,
        lr: PositiveFloat = 5e-5,
        eps: PositiveFloat = 1e-6,
        weight_decay: NonNegativeFloat = 0.0,
        master_weights: bool = False,
        masked: bool = False,
        vector: Literal["uniform", "gaussian"] = "uniform",
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        diagnostics: NonNegativeInt = 10,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        blocks = layers if layers is not None else list(range(max(layer - TRAINED_BLOCKS + 1, 0), layer + 1))
        if not blocks or max(blocks) > layer:
            raise UsageError(f"adaptive-rmu trains blocks up to `layer`, which is {layer}; got layers {blocks}.")
        select_parameters(model, parameters, [layer])  # a wrong layer is named as it was given
        self.trained = select_parameters(model, parameters, blocks)
        train_only(model, self.trained)
        self.use_adapter(adapter, rank, [name.removesuffix(".weight") for name in self.trained])
        self.keep_original()
        self.outputs, self.last_needed = BlockOutputs(self, [layer], first=min(blocks)), layer
        self.lr, self.eps, self.weight_decay, self.master_weights = lr, eps, weight_decay, master_weights
        self.scale, self.alpha = scale, alpha
        self.masked, self.diagnostics = masked, diagnostics
        self.vector: Literal["uniform", "gaussian"] = vector
        self.coefficients: dict[str, float] = {}
        self.controls: dict[str, Tensor] = {}

    def preflight(self, topics: Sequence[str]) -> Iterable[str]:
        return check_per_topic("adaptive-rmu.alpha", self.alpha, topics)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the retain term start above zero
        topics, width = self.context.topics, int(self.model.config.get_text_config().hidden_size)
        self.alphas = per_topic("adaptive-rmu.alpha", self.alpha, topics)
        for number, topic in enumerate(topics):  # update k takes topic k, so this is each one's first batch
            self.coefficients[topic] = self.scale * self.mean_norm(self.context.forget.update(number))
            control = control_vector(width, self.vector, self.coefficients[topic])
            self.controls[topic] = control.to(next(iter(self.trained.values())))

    @torch.no_grad()
    def mean_norm(self, stream: Stream) -> float:
        """Mean norm of block l's outputs over a stream's real tokens."""
        stream = self.transfer_batch_to_device(stream, self.device, 0)
        with self.computation():
            (hidden,) = self.outputs.frozen(self.outputs.split(stream))  # (B, T, D)
        return float(hidden[stream["attention_mask"].bool()].float().norm(dim=1).mean())

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        topic = batch["forget"]["topic"]
        split, kept = self.outputs.split(batch["forget"]), self.outputs.kept(batch["retain"])
        steered, held, frozen = split(), kept.split(), kept.frozen[0]  # (B, T, D)
        forget = mean_square(steered - self.controls[topic], self._counted(batch["forget"]))
        retain = mean_square(held - frozen, self._counted(batch["retain"]))
        self.log_dict({f"forget/{topic}": forget, f"retain/{topic}": retain})
        if batch_idx // self.context.accumulate < len(self.context.topics):
            self.log(f"coefficient/{topic}", self.coefficients[topic])
        if self.diagnostics and batch_idx // (self.context.accumulate * len(self.context.topics)) % self.diagnostics == 0:
            self.outputs.log_drift(f"forget/{topic}", steered, self.outputs.frozen(split)[0], batch["forget"])
            self.outputs.log_drift(f"retain/{topic}", held, frozen, batch["retain"])
        return forget + self.alphas[topic] * retain

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return ReferenceAdamW(
            self.trainable(),
            lr=self.lr,
            eps=self.eps,
            weight_decay=self.weight_decay,
            master_weights=self.master_weights,
        )

    def on_train_end(self) -> None:
        self.outputs.clear()

    def _counted(self, stream: Stream) -> Tensor | None:
        return stream["labels"] != IGNORE if self.masked else None


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="adaptive-rmu",
            factory=AdaptiveRMU,
            summary="RMU with a target as long as a multiple of the activations' own norm",
            source="arXiv:2408.06223",
            training=Training(steps=150, batch_size=4, max_length=512, order="file"),
            space={
                "layer": ShareOf("blocks", 0.2, 0.6),
                "scale": Log(1.5, 20.0),
                "alpha": Log(1.0, 2000.0),
                "lr": Log(2e-5, 2e-2),
            },
        )
    ]
