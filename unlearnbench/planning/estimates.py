"""The costs of a comparison, estimated from shapes and budgets alone: memory, disk, tokens, questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from unlearnbench.planning.durations import Durations
from unlearnbench.planning.plan import JobPlan
from unlearnbench.plugins.specs import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unlearnbench.data.topics import TopicData
    from unlearnbench.scoring.benchmark import Workload
    from unlearnbench.training.method import UnlearningMethod

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes per number


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """The needs of one row in memory and on disk, in bytes.

    Attributes:
        weights: weights of the whole model, for scoring.
        needed: weights of the part of it that training runs.
        trained: count of numbers that the method may change, or an adapter's factors; None where only the real model tells.
        gradients: gradients of these numbers.
        summed: gradients that are in memory while another piece of a batch is computed; without pieces each weight may be
            stepped, and its gradient freed, before the next one's is there.
        optimizer: optimizer state: two moments of each number, and a float32 copy of narrower weights where the method steps
            one.
        sums: sums that a method without an optimizer gathers in host memory: two float32 numbers for each, by a rule of thumb.
        activations: activations that the backward pass of one piece of a batch needs, by a rule of thumb.
        delta: delta that is kept on disk, at most: tensors that do not change are not written.
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
        """Return the bytes below which the job cannot run: everything but the rules of thumb."""
        return max(self.weights, self.needed + self.summed + self.optimizer)

    @property
    def likely(self) -> int:
        """Return the bytes of the larger of training and scoring."""
        return max(self.weights, self.needed + self.gradients + self.optimizer + self.sums + self.activations)


def footprint(shape: PreTrainedModel, method: UnlearningMethod | None, training: Training | None, dtype: str) -> Footprint:
    """Return the needs of a row.

    Args:
        shape: model without weights.
        method: method built on it; None for a row that trains nothing, or that needs real weights to be built.
        training: budget of the method.
        dtype: dtype of the weights.
    """
    width = WIDTHS[dtype]
    sizes = {id(parameter): parameter.numel() for parameter in shape.parameters()}  # tied ones once
    whole = sum(sizes.values())
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
    """Return the numbers of the model's part that training runs: without the blocks above the last one it needs."""
    if method.last_needed is None:
        return whole
    from unlearnbench.models.blocks import decoder_blocks

    above = list(decoder_blocks(shape)[1])[method.last_needed + 1 :]
    return whole - sum(parameter.numel() for block in above for parameter in block.parameters())


def _activations(shape: PreTrainedModel, training: Training, width: int, last: int | None) -> int:
    """Return the bytes of both sides of one piece: what a block keeps per token, or with checkpointing its input, for every
    block that runs.
    """
    config: Any = shape.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    blocks = config.num_hidden_layers if last is None else last + 1
    whole = 8 * config.hidden_size + 3 * inner
    kept = blocks * config.hidden_size + whole if training.checkpointing else blocks * whole
    return 2 * training.batch_size // training.accumulate * training.max_length * kept * width


@dataclass(frozen=True, kw_only=True)
class JobEstimate:
    """The remaining work of one job.

    Attributes:
        variant: row of the job.
        seed: seed of the job.
        finished: benchmarks whose cells are finished.
        failed: benchmarks whose cells failed, and are not to be computed again.
        due: benchmarks that are left to score.
        updates: optimizer updates; 0 where nothing trains or its delta is there.
        tokens: largest number of tokens in these updates; texts are mostly shorter.
        items: number of questions to score.
        generated: largest number of tokens that the model writes.
        judge_requests: number of requests to a judge behind an API.
        judge_tokens: approximate number of tokens in these requests and in the replies.
        judge_reply_tokens: number of these tokens that are in the replies.
        memory_bytes: likely peak memory of the job; None where it computes nothing.
        trained: count of numbers that the method may change; None where only the real model tells.
        delta_bytes: largest size of the delta on disk.
        unlearn_seconds: approximate seconds of unlearning; None where nothing is known.
        evaluate_seconds: approximate seconds of scoring; None where nothing is known.
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
        """Return the fields, for JSON."""
        return asdict(self)


def estimate_job(
    plan: JobPlan,
    loads: Mapping[str, Workload],
    topics: Sequence[TopicData],
    needs: Footprint | None,
    *,
    trained: bool,
    failed: tuple[str, ...],
    durations: Durations,
) -> JobEstimate:
    """Estimate the remaining work of a job.

    Args:
        plan: plan of the job.
        loads: workload of scoring one model, by benchmark.
        topics: topics of the comparison.
        needs: needs of its row.
        trained: True where its delta is there already.
        failed: benchmarks whose cells failed.
        durations: known durations of rows and benchmarks.
    """
    finished = tuple(name for name in plan.cells if name not in (*plan.due, *failed))
    work = [load for name, load in loads.items() if name in plan.due]
    training = plan.variant.training if plan.due and not trained else None
    return JobEstimate(
        variant=plan.job.variant,
        seed=plan.job.seed,
        finished=finished,
        failed=failed,
        due=plan.due,
        updates=training.steps if training and plan.trains else 0,
        tokens=_tokens(training, topics) if training and plan.trains else 0,
        items=sum(load.items for load in work),
        generated=sum(load.generated for load in work),
        judge_requests=sum(load.judge_requests for load in work),
        judge_tokens=sum(load.judge_tokens for load in work),
        judge_reply_tokens=sum(load.judge_reply_tokens for load in work),
        memory_bytes=needs.likely if needs and plan.due else None,
        trained=needs.trained if needs else None,
        delta_bytes=needs.delta if needs and training else 0,
        unlearn_seconds=durations.to_unlearn(plan) if training else 0.0,
        evaluate_seconds=durations.to_evaluate(plan),
    )


def _tokens(training: Training, topics: Sequence[TopicData]) -> int:
    """Return the tokens of full batches on both sides; updates take the topics in turn."""
    most = training.max_length
    lengths = [topic.longest("forget", most) + topic.longest("retain", most) for topic in topics]
    if not lengths:
        return 0
    rounds, rest = divmod(training.steps, len(lengths))
    return training.batch_size * (rounds * sum(lengths) + sum(lengths[:rest]))
