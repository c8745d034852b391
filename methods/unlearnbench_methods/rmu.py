"""RMU: steer the activations of forget texts to a fixed random direction, hold those of retain texts in place.

Source: Li et al., "The WMDP Benchmark", ICML 2024, arXiv:2403.03218; reference code centerforaisafety/wmdp@f2d346f, rmu/.
    L = MSE(h_l(x_forget), c u) + alpha MSE(h_l(x_retain), h_l^0(x_retain)), h_l the output of block l, 0-based.
Deviations:
    - Parameters are chosen by name, not by their index in the block, which means another matrix in other families.
    - Only the chosen parameters get gradients; the reference accumulates gradients it never applies.
    - No second model and no forward beyond block l: what lies below the trained blocks runs once for both models, and the
      frozen rest is the same module with the original matrices put back, or its adapter switched off.
    - What the frozen model answers to a retain batch is kept while the next updates use the same batch.
    - The control vectors are drawn on the CPU in float32, so that a seed means the same on every device.
    - A search runs what lies below the trained blocks once per batch, and the frozen model once per batch and layer.
    - A corpus that runs out starts again; the reference stops.
    - Latent adversarial training (`lat_steps`) is not part of RMU: an adversary perturbs what goes into the first trained block
      by steps of a fixed length, where EleutherAI/unlearn's perturbs the embeddings and several blocks with Adam.
Streams: forget and retain of one topic per update, topics in turn. Padding on the left, as in the reference.
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
    SplitForward,
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
    split_slice,
    train_only,
    worst_case,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINED_BLOCKS = 3  # l-2, l-1 and l


class RMU(UnlearningMethod):
    """Representation misdirection for unlearning. Defaults: the paper's for Zephyr-7B.

    Args:
        model: a decoder-only language model.
        layer: block whose output is steered, 0-based.
        layers: trained blocks; None means `layer` and the two below it.
        parameters: regular expression for the trained parameters of these blocks; `NAME[0, 14336:]` trains only that slice,
            for families that keep all experts in one tensor.
        coefficient: length c of the target; one number, or one per topic. It must lie well above the activations' own norm.
        alpha: weight of the retain term; one number, or one per topic.
        lr: learning rate, constant.
        eps: AdamW's epsilon, added before bias correction as in the reference.
        weight_decay: decoupled weight decay.
        master_weights: true steps float32 copies of narrower weights; the reference steps bfloat16 weights themselves.
        masked: true counts tokens with labels only, no padding and no prompts, each sequence weighing the same; the reference
            counts padding, too.
        vector: `uniform` draws each coordinate from [0, 1) as the reference does, `gaussian` is isotropic.
        adapter: `lora` trains a low-rank adapter on the chosen matrices, `none` the matrices themselves.
        rank: rank of the adapter.
        lat_steps: steps of a latent adversary, which perturbs the input of the first trained block on forget texts; 0: no
            adversary.
        lat_radius: length of that perturbation, as a share of each position's norm.
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
        coefficient: float | list[float] = 6.5,
        alpha: float | list[float] = 1200.0,
        lr: PositiveFloat = 5e-5,
        eps: PositiveFloat = 1e-6,
        weight_decay: NonNegativeFloat = 0.0,
        master_weights: bool = False,
        masked: bool = False,
        vector: Literal["uniform", "gaussian"] = "uniform",
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        lat_steps: NonNegativeInt = 0,
        lat_radius: PositiveFloat = 0.1,
        diagnostics: NonNegativeInt = 10,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        blocks = layers if layers is not None else list(range(max(layer - TRAINED_BLOCKS + 1, 0), layer + 1))
        if not blocks or max(blocks) > layer:
            raise UsageError(f"rmu trains blocks up to `layer`, which is {layer}; got layers {blocks}.")
        pattern, part = split_slice(parameters)
        select_parameters(model, pattern, [layer])  # a wrong layer is named as it was given
        self.trained = select_parameters(model, pattern, blocks)
        self._handles = train_only(model, self.trained, part)
        if part is not None and weight_decay:
            raise UsageError(f"rmu cannot decay a slice of a parameter; set weight_decay to 0 or select all of {pattern}.")
        if part is not None and adapter != "none":
            raise UsageError(f"rmu cannot adapt a slice of a parameter; set adapter to none or select all of {pattern}.")
        self.use_adapter(adapter, rank, [name.removesuffix(".weight") for name in self.trained])
        self.keep_original()
        self.outputs, self.last_needed = BlockOutputs(self, [layer], first=min(blocks)), layer
        self.lr, self.eps, self.weight_decay, self.master_weights = lr, eps, weight_decay, master_weights
        self.coefficient, self.alpha = coefficient, alpha
        self.masked, self.diagnostics = masked, diagnostics
        self.vector: Literal["uniform", "gaussian"] = vector
        self.lat_steps, self.lat_radius = lat_steps, lat_radius
        self.controls: dict[str, Tensor] = {}

    def preflight(self, topics: Sequence[str]) -> Iterable[str]:
        return [
            *check_per_topic("rmu.coefficient", self.coefficient, topics),
            *check_per_topic("rmu.alpha", self.alpha, topics),
        ]

    def on_fit_start(self) -> None:
        topics, width = self.context.topics, int(self.model.config.get_text_config().hidden_size)
        reference = next(iter(self.trained.values()))
        for topic, length in per_topic("rmu.coefficient", self.coefficient, topics).items():
            self.controls[topic] = control_vector(width, self.vector, length).to(reference)
        self.alphas = per_topic("rmu.alpha", self.alpha, topics)

    def on_train_start(self) -> None:
        self.model.eval()  # dropout would make the retain term start above zero

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        topic = batch["forget"]["topic"]
        counted, real = self._counted(batch["forget"]), batch["forget"]["attention_mask"].bool()

        def misdirection(split: SplitForward) -> Tensor:
            return mean_square(split() - self.controls[topic], counted)

        split, kept = self.outputs.split(batch["forget"]), self.outputs.kept(batch["retain"])
        attacked = worst_case(split, misdirection, real, steps=self.lat_steps, radius=self.lat_radius)
        steered, held, frozen = attacked(), kept.split(), kept.frozen[0]  # (B, T, D)
        forget = mean_square(steered - self.controls[topic], counted)
        retain = mean_square(held - frozen, self._counted(batch["retain"]))
        self.log_dict({f"forget/{topic}": forget, f"retain/{topic}": retain})
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
        for handle in self._handles:
            handle.remove()

    def _counted(self, stream: Stream) -> Tensor | None:
        return stream["labels"] != IGNORE if self.masked else None


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="rmu",
            factory=RMU,
            summary="steer forget activations to a random direction, hold retain activations",
            source="arXiv:2403.03218",
            training=Training(steps=150, batch_size=4, max_length=512, order="file"),
            space={
                "layer": ShareOf("blocks", 0.2, 0.6),  # the paper searched it; 7 of 32 in Zephyr, 15 of 60 in Yi
                "coefficient": Log(5.0, 500.0),  # 6.5 for Zephyr, 300 for Yi
                "alpha": Log(1.0, 2000.0),
                "lr": Log(2e-5, 2e-2),
            },
        )
    ]
