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
Streams: forget and retain of one topic per update, topics in turn. Padding on the left, as in the reference.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from unlearnbench.api import (
    IGNORE,
    AdamW,
    Log,
    MethodSpec,
    ShareOf,
    SplitForward,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    hookimpl,
    mean_square,
    select_parameters,
    split_forward,
    split_slice,
    train_only,
    train_slice,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# the MLP's output projection: Llama, Mistral, Qwen, Gemma; GPT-NeoX; Phi
OUTPUT_PROJECTION = r"mlp\.(down_proj|dense_4h_to_h|fc2)\.weight$"
TRAINED_BLOCKS = 3  # l-2, l-1 and l


class _Kept(NamedTuple):
    """What the updates that share a retain batch need not compute again."""

    split: SplitForward
    frozen: Tensor  # (B, T, D)


class RMU(UnlearningMethod):
    """Representation misdirection for unlearning. Defaults: the paper's for Zephyr-7B.

    Args:
        model: a decoder-only language model.
        layer: block whose output is steered, 0-based.
        layers: blocks that are trained; None means `layer` and the two below it.
        parameters: regular expression for the trained parameters of these blocks; `NAME[0, 14336:]` trains only that slice,
            for families that keep all experts in one tensor.
        coefficient: length c of the target; one number, or one per topic. Must lie well above the activations' own norm.
        alpha: weight of the retain term; one number, or one per topic.
        lr: learning rate, constant.
        eps: AdamW's epsilon, added before bias correction as in the reference.
        weight_decay: decoupled.
        master_weights: step float32 copies of narrower weights; the reference steps bfloat16 weights themselves.
        masked: count real tokens only, each sequence weighing the same; the reference counts padding too.
        vector: `uniform` draws each coordinate from [0, 1) as the reference does, `gaussian` is isotropic.
        adapter: `lora` trains a low-rank adapter on the chosen matrices, `none` the matrices themselves.
        rank: of the adapter.
        diagnostics: log norms and cosines every so many updates of a topic; 0 never does.
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
        train_only(model, self.trained)
        if part is not None and weight_decay:
            raise UsageError(f"rmu cannot decay a slice of a parameter; set weight_decay to 0 or select all of {pattern}.")
        if part is not None and adapter != "none":
            raise UsageError(f"rmu cannot adapt a slice of a parameter; set adapter to none or select all of {pattern}.")
        self._handles = train_slice(self.trained, part) if part is not None else []
        self.use_adapter(adapter, rank, [name.removesuffix(".weight") for name in self.trained])
        self.keep_original()
        self.first, self.layer, self.last_needed = min(blocks), layer, layer
        self.lr, self.eps, self.weight_decay, self.master_weights = lr, eps, weight_decay, master_weights
        self.coefficient, self.alpha = coefficient, alpha
        self.masked, self.vector, self.diagnostics = masked, vector, diagnostics
        self.controls: dict[str, Tensor] = {}
        self._kept: dict[str, _Kept] = {}

    def preflight(self, topics: Sequence[str]) -> Iterable[str]:
        for option, value in (("coefficient", self.coefficient), ("alpha", self.alpha)):
            if isinstance(value, list) and len(value) != len(topics):
                yield f"rmu.{option} needs one number or {len(topics)} (for {', '.join(topics)}); got {len(value)}."

    def on_fit_start(self) -> None:
        topics = self.context.topics
        width = int(self.model.config.hidden_size)
        reference = next(iter(self.trained.values()))
        for number, topic in enumerate(topics):
            draw = torch.rand(width) if self.vector == "uniform" else torch.randn(width)  # (D,)
            target = _of_topic(self.coefficient, number) * draw / draw.norm()
            self.controls[topic] = target.to(reference)
        self.alphas = {t: _of_topic(self.alpha, n) for n, t in enumerate(topics)}

    def on_train_start(self) -> None:
        self.model.eval()  # dropout would make the retain term start above zero

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        topic = batch["forget"]["topic"]
        split = self._split(batch["forget"])
        kept = self._retained(batch["retain"])
        steered, held = split(), kept.split()  # (B, T, D)
        forget = mean_square(steered - self.controls[topic], self._counted(batch["forget"]))
        retain = mean_square(held - kept.frozen, self._counted(batch["retain"]))
        self.log_dict({f"forget/{topic}": forget, f"retain/{topic}": retain})
        if self.diagnostics and batch_idx // (self.context.accumulate * len(self.context.topics)) % self.diagnostics == 0:
            self._diagnose(f"forget/{topic}", steered, self._frozen(split), batch["forget"])
            self._diagnose(f"retain/{topic}", held, kept.frozen, batch["retain"])
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
        self._kept.clear()
        for handle in self._handles:
            handle.remove()

    def _split(self, stream: Stream) -> SplitForward:
        inputs = {"input_ids": stream["input_ids"], "attention_mask": stream["attention_mask"]}
        key = ("rmu prefix", str(self.first), _digest(stream))
        known = self.context.recall(*key) if self.context.reuse else None
        started = time.perf_counter()
        split = split_forward(self.model, inputs, first=self.first, last=self.layer, known=known)
        if self.context.reuse and known is None:
            self.context.keep(split.prefix, *key, seconds=time.perf_counter() - started, tokens=0)
        return split

    def _frozen(self, split: SplitForward) -> Tensor:
        with self.reference():
            return split()

    def _target(self, split: SplitForward, stream: Stream) -> Tensor:
        """What the frozen model answers; a search computes it once per batch and layer."""
        key = ("rmu target", str(self.layer), _digest(stream))
        known = self.context.recall(*key) if self.context.reuse else None
        if known is not None:
            return known["frozen"].to(split.hidden)
        started = time.perf_counter()
        frozen = self._frozen(split)
        if self.context.reuse:
            self.context.keep({"frozen": frozen}, *key, seconds=time.perf_counter() - started, tokens=0)
        return frozen

    def _retained(self, stream: Stream) -> _Kept:
        """The retain side of an update, taken from the update before where it had the same batch."""
        key = _digest(stream)
        if key not in self._kept:
            while len(self._kept) >= self.context.accumulate:
                del self._kept[next(iter(self._kept))]
            split = self._split(stream)
            self._kept[key] = _Kept(split, self._target(split, stream))
        return self._kept[key]

    def _counted(self, stream: Stream) -> Tensor | None:
        return stream["labels"] != IGNORE if self.masked else None

    @torch.no_grad()
    def _diagnose(self, name: str, updated: Tensor, frozen: Tensor, stream: Stream) -> None:
        """Medians over real tokens: the loss is a mean that one huge position may dominate."""
        real = stream["attention_mask"].bool()
        updated, frozen = updated[real].float(), frozen[real].float()  # (N, D)
        cosine = F.cosine_similarity(updated, frozen, dim=1)
        self.log_dict({f"norm/{name}": updated.norm(dim=1).median(), f"cosine/{name}": cosine.median()})


class ReferenceAdamW(AdamW):
    """AdamW as transformers 4 had it: epsilon is added to the root of the second moment before its bias correction.

    That equals torch's AdamW with eps / sqrt(1 - beta2^t) at step t, so the first steps are damped.
    """

    def __init__(
        self, params: list[nn.Parameter], *, lr: float, eps: float, weight_decay: float, master_weights: bool = False
    ) -> None:
        super().__init__(params, lr=lr, eps=eps, weight_decay=weight_decay, master_weights=master_weights)
        self._eps, self._steps = eps, 0

    def step(self, closure: Any = None) -> Any:
        self._steps += 1
        for group in self.param_groups:
            group["eps"] = self._eps / math.sqrt(1 - group["betas"][1] ** self._steps)
        return super().step(closure)


def _of_topic(value: float | list[float], number: int) -> float:
    """A number for all topics, or one for each."""
    return value[number] if isinstance(value, list) else value


def _digest(stream: Stream) -> str:
    """What a batch is: its tokens and where they lie."""
    ids, mask = (stream[name].cpu() for name in ("input_ids", "attention_mask"))
    return hashlib.sha256(str(tuple(ids.shape)).encode() + ids.numpy().tobytes() + mask.numpy().tobytes()).hexdigest()


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
