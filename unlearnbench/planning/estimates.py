"""What a comparison will take, told from shapes and budgets alone: memory, disk, tokens, questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from unlearnbench.planning.durations import Durations
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan
from unlearnbench.plugins.specs import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unlearnbench.data.topics import TopicData
    from unlearnbench.training.method import UnlearningMethod

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes per number


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one row needs in memory and on disk, in bytes.

    Attributes:
        weights: of the whole model, for scoring.
        needed: of the part of it that training runs.
        trained: numbers that the method may change, or an adapter's factors; None where only the real model tells.
        gradients: of these.
        summed: what of the gradients stands while another piece of a batch is computed; without pieces each weight may be
            stepped, and its gradient go, before the next one's is there.
        optimizer: two moments of each, and a float32 copy of narrower weights where the method steps one.
        sums: what a method without an optimizer gathers in host memory: two float32 numbers for each, by a rule of thumb.
        activations: that the backward pass of one piece of a batch needs, by a rule of thumb.
        delta: that is kept on disk, at most: what does not change is not written.
    """

    weights: int
    needed: int = 0
    trained: int | None = None
    gradients: int = 0
    summed: int = 0
    optimizer: int = 0
    sums: int = 0
    activations: int = 0
    delta: int = 0

    @property
    def least(self) -> int:
        """Below this the job cannot run: what goes by a rule of thumb is left out."""
        return max(self.weights, self.needed + self.summed + self.optimizer)

    @property
    def likely(self) -> int:
        """What the larger of training and scoring takes."""
        return max(self.weights, self.needed + self.gradients + self.optimizer + self.sums + self.activations)


def footprint(shape: PreTrainedModel, method: UnlearningMethod | None, training: Training | None, dtype: str) -> Footprint:
    """What a row needs.

    Args:
        shape: the model without weights.
        method: built on it; None for a row that trains nothing, or that needs real weights to be built.
        training: its budget.
        dtype: of the weights.
    """
    width = WIDTHS[dtype]
    own = {id(parameter): parameter.numel() for parameter in shape.parameters()}  # tied ones once
    whole = sum(own.values())
    if method is None or training is None:
        return Footprint(weights=whole * width)
    trained = sum(parameter.numel() for parameter in method.trainable())
    adapted = method.adapter is not None  # its factors are float32 and not part of the model's own weights
    own_width = 4 if adapted else width
    base = whole - (trained if adapted else 0)
    stepped = method.automatic_optimization
    master = stepped and own_width < 4 and bool(getattr(method, "master_weights", False))
    gradients = trained * own_width if stepped else 0
    return Footprint(
        weights=base * width,
        needed=_needed(shape, method, base) * width + (trained * own_width if adapted else 0),
        trained=trained,
        gradients=gradients,
        summed=gradients if training.accumulate > 1 else 0,
        optimizer=trained * (2 * (4 if master else own_width) + 4 * master) if stepped else 0,
        sums=0 if stepped else 2 * 4 * trained,
        activations=_activations(shape, training, width, method.last_needed),
        delta=method.delta_numbers() * own_width,
    )


def _needed(shape: PreTrainedModel, method: UnlearningMethod, whole: int) -> int:
    """Numbers of the model's part that training runs: without the blocks above the last one it needs."""
    if method.last_needed is None:
        return whole
    from unlearnbench.models.blocks import decoder_blocks

    above = list(decoder_blocks(shape)[1])[method.last_needed + 1 :]
    return whole - sum(parameter.numel() for block in above for parameter in block.parameters())


def _activations(shape: PreTrainedModel, training: Training, width: int, last: int | None) -> int:
    """Both sides of one piece: what a block keeps per token, or with checkpointing its input, for every block that runs."""
    config: Any = shape.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    blocks = config.num_hidden_layers if last is None else last + 1
    whole = 8 * config.hidden_size + 3 * inner
    kept = blocks * config.hidden_size + whole if training.checkpointing else blocks * whole
    return 2 * training.batch_size // training.accumulate * training.max_length * kept * width


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """What one job still takes.

    Attributes:
        variant: the row.
        seed: of the job.
        finished: benchmarks whose cells are there.
        failed: benchmarks whose cells say that they failed, and are not to be computed again.
        due: benchmarks that are left to score.
        updates: of the optimizer; 0 where nothing trains or its delta is there.
        tokens: seen by these at most; texts are mostly shorter.
        items: questions to score.
        generated: tokens that the model writes at most.
        judge_requests: to a judge elsewhere.
        judge_tokens: about so many in them and in the replies.
        judge_reply_tokens: how many of these are in the replies.
        memory_bytes: what the job likely takes at its peak; None where it computes nothing.
        trained: numbers that the method may change; None where only the real model tells.
        delta_bytes: on disk, at most.
        unlearn_seconds: about; None where nothing is known.
        evaluate_seconds: about; None where nothing is known.
    """

    variant: str
    seed: int
    finished: tuple[str, ...]
    failed: tuple[str, ...]
    due: tuple[str, ...]
    updates: int = 0
    tokens: int = 0
    items: int = 0
    generated: int = 0
    judge_requests: int = 0
    judge_tokens: int = 0
    judge_reply_tokens: int = 0
    memory_bytes: int | None = None
    trained: int | None = None
    delta_bytes: int = 0
    unlearn_seconds: float | None = None
    evaluate_seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def estimate_job(
    plan: JobPlan,
    benchmarks: Sequence[BenchmarkPlan],
    topics: Sequence[TopicData],
    limit: int | None,
    own: Footprint | None,
    *,
    trained: bool,
    failed: tuple[str, ...],
    durations: Durations,
) -> JobEstimate:
    """What a job still takes.

    Args:
        plan: the job.
        benchmarks: of the comparison.
        topics: of the comparison.
        limit: items of each part.
        own: what its row needs.
        trained: its delta is there already.
        failed: benchmarks whose cells failed.
        durations: what is known of rows and benchmarks.
    """
    finished = tuple(name for name in plan.cells if name not in (*plan.due, *failed))
    work = [one.benchmark.estimate(limit) for one in benchmarks if one.name in plan.due]
    training = plan.variant.training if plan.due and not trained else None
    return JobEstimate(
        variant=plan.job.variant,
        seed=plan.job.seed,
        finished=finished,
        failed=failed,
        due=plan.due,
        updates=training.steps if training and plan.trains else 0,
        tokens=_tokens(training, topics) if training and plan.trains else 0,
        items=sum(one.items for one in work),
        generated=sum(one.generated for one in work),
        judge_requests=sum(one.judge_requests for one in work),
        judge_tokens=sum(one.judge_tokens for one in work),
        judge_reply_tokens=sum(one.judge_reply_tokens for one in work),
        memory_bytes=own.likely if own and plan.due else None,
        trained=own.trained if own else None,
        delta_bytes=own.delta if own and training else 0,
        unlearn_seconds=durations.to_unlearn(plan) if training else 0.0,
        evaluate_seconds=durations.to_evaluate(plan),
    )


def _tokens(training: Training, topics: Sequence[TopicData]) -> int:
    """Of full batches on both sides; updates take the topics in turn."""
    most = training.max_length
    lengths = [topic.longest("forget", most) + topic.longest("retain", most) for topic in topics]
    return sum(training.batch_size * lengths[update % len(lengths)] for update in range(training.steps)) if lengths else 0
