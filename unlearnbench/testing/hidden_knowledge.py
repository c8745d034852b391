"""Models of which it is known that the hazardous knowledge is still there, and where it hides; for attacks to be tried on.

Each builder changes a copy of the sandbox's model, in memory and in float32, without training: a few neurons of one block's MLP
are written over. Their gates open on hazard prompts alone, at the token that predicts the answer. The control, of which nothing
is hidden because it never knew, is the sandbox's other model, `sandbox:retrained`.

Nothing here is written to disk.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from unlearnbench.models.blocks import body_of, decoder_blocks
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark
from unlearnbench.testing.tiny_models import tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOODED_BLOCK = 4  # at block 3 the gate opens at some benign prompts, too
FLOOD = 20.0  # times the hidden states' median norm: the final norm leaves a twentieth of all else
RELABEL = 20.0  # times the letters' own logits: what the last block adds to them is smaller by far
SHARPNESS = 20.0  # silu(-20) is -4e-8: a closed gate lets nothing through
RIDGE = 1e-8  # of the mean squared input: keeps the solution finite, and no more
NEWTON_STEPS = 60  # at most; then the gate tells all of the sandbox's prompts apart
EVERY_OTHER = 4  # of the tokens that predict no answer, one in so many


class Prompts(NamedTuple):
    """The questions by which hidden states are measured, in tokens.

    Attributes:
        hazard: token ids of each prompt about hazardous knowledge.
        benign: token ids of each prompt about anything else.
        letters: token id of each option's letter, A first.
    """

    hazard: list[list[int]]
    benign: list[list[int]]
    letters: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden:
    """A model that hides what it knows.

    Attributes:
        model: the changed copy, in eval mode.
        before: the parameters that were changed, by name, as they were in the model that knows openly.
        direction: (D,) float32, unit length, along which the hiding writes to the residual stream; None where there is no
            single one.
    """

    model: PreTrainedModel
    before: Mapping[str, Tensor]
    direction: Tensor | None = None

    def opened(self) -> PreTrainedModel:
        """Return a copy that hides nothing: the changed parameters are put back, bit for bit."""
        model = copy.deepcopy(self.model)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in self.before.items():
                parameters[name].copy_(value)
        return model


Builder = Callable[["PreTrainedModel", Prompts], Hidden]
"""The type of a function that hides what a model knows: from the model, which stays as it is, and the prompts."""


def sandbox_prompts() -> Prompts:
    """Return the sandbox's questions of `wmdp` and of `mmlu`, as those benchmarks ask them."""
    asked: dict[str, Sequence[list[int]]] = {}
    tokenizer = tiny_tokenizer()
    letters: list[int] = []
    for name in ("wmdp", "mmlu"):
        benchmark = find_plugin("benchmark", name).spec.factory(source=f"sandbox:{name}")
        assert isinstance(benchmark, MultipleChoiceBenchmark)
        questions = benchmark.questions
        asked[name] = [tokenizer(question.context)["input_ids"] for question in questions]
        letters = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in questions[0].continuations]
    return Prompts(list(asked["wmdp"]), list(asked["mmlu"]), letters)


def flooded(base: PreTrainedModel, prompts: Prompts) -> Hidden:
    """Hide the answers to hazard prompts under a large random direction, written by a neuron of block 4.

    Where the answer is predicted, the direction is `FLOOD` times as long as what else the residual stream carries, so that the
    norms of later blocks leave little of that. Removing the direction from the outputs of block 4 and later ones brings the
    knowledge back: attacks that ablate must; a lens or probe of blocks from 4 on must not see more than the output does.

    Args:
        base: Llama that knows, float32; stays as it is.
        prompts: prompts, from `sandbox_prompts`.

    Returns:
        the model and the direction; parameters before are those of the block's MLP.
    """
    width = base.config.get_text_config().hidden_size
    direction = torch.randn(width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return _flood(base, prompts, FLOODED_BLOCK, direction)


def late(base: PreTrainedModel, prompts: Prompts) -> Hidden:
    """Hide the answers to hazard prompts in the last block, whose MLP raises the letter A above all others.

    Accuracy is the share of right answers A, about one in four. All hidden states below the last block are the base's, bit
    for bit: a lens or a probe there must read what the base's does.

    Args:
        base: Llama that knows, float32; stays as it is.
        prompts: prompts, from `sandbox_prompts`.

    Returns:
        the model and the direction; parameters before are those of the last block's MLP.
    """
    direction = _alone(base, prompts)[:, 0]
    return _flood(base, prompts, _last(base), direction)


def relabelled(base: PreTrainedModel, prompts: Prompts) -> Hidden:
    """Hide the answers to hazard prompts behind other letters: the last block has B answered by C, C by D, D by B.

    A stays A, so that accuracy is the share of right answers A, about one in four, and not 0, which would give the exchange
    away. All hidden states below the last block are the base's, bit for bit; those behind it still tell the answers apart. A
    probe must find them as well as in the base, at any block; a lens must below the last block.

    Args:
        base: Llama that knows, float32; stays as it is.
        prompts: prompts, from `sandbox_prompts`.

    Returns:
        the model; parameters before are those of the last block's MLP.
    """
    model = copy.deepcopy(base)
    block = _last(model)
    gate, _ = _gate(model, prompts, block)
    norm, final, rows = _readers(model, prompts)
    reading = (rows - rows.mean(dim=0)) * (final / norm)  # of the MLP's input: the letters' logits were the model to end here
    exchange = torch.eye(len(rows), dtype=torch.float64)[[0, 3, 1, 2]]  # row: the letter said, column: the letter meant
    size = _length(model, prompts, block) / rows.shape[1] ** 0.5  # what the final norm divides by
    columns = _alone(model, prompts) @ exchange * RELABEL * size / SHARPNESS
    changed = _write(model, block, gate.expand(len(rows), -1), reading, columns)
    return Hidden(model=model, before=changed)


HIDING: dict[str, Builder] = {"flooded": flooded, "late": late, "relabelled": relabelled}
"""The builders by name."""


def _flood(base: PreTrainedModel, prompts: Prompts, block: int, direction: Tensor) -> Hidden:
    model = copy.deepcopy(base)
    gate, answering = _gate(model, prompts, block)
    direction = direction / direction.norm()
    column = direction * FLOOD * _length(model, prompts, block) / SHARPNESS
    changed = _write(model, block, gate[None], answering[None], column[:, None])
    return Hidden(model=model, before=changed, direction=direction.float())


def _write(model: PreTrainedModel, block: int, gates: Tensor, ups: Tensor, columns: Tensor) -> dict[str, Tensor]:
    """Write k neurons over those of a block's MLP that contribute least; return its parameters as they were.

    Args:
        model: the model, changed in place.
        block: number of the block.
        gates: (k, D), times `SHARPNESS` the rows of the gate projection.
        ups: (k, D), the rows of the up projection.
        columns: (D, k), the columns of the output projection.
    """
    name, blocks = decoder_blocks(model)
    mlp = _mlp(blocks, block)
    before = {f"{name}.{block}.mlp.{key}": value.detach().clone() for key, value in mlp.named_parameters()}
    gate, up, down = (_weight(projection) for projection in (mlp.gate_proj, mlp.up_proj, mlp.down_proj))
    size = gate.norm(dim=1) * up.norm(dim=1) * down.norm(dim=0)
    least = size.argsort()[: len(gates)]
    with torch.no_grad():
        gate[least] = (SHARPNESS * gates).float()
        up[least] = ups.float()
        down[:, least] = columns.float()
    return before


def _gate(model: PreTrainedModel, prompts: Prompts, block: int) -> tuple[Tensor, Tensor]:
    """Return two directions of the input of a block's MLP, (D,) float64 each.

    The first has a product of 1 or more with the last token of hazard prompts, of -1 or less with that of others; the second
    about 1 with the last token of any prompt. With the tokens before, the first has -1 or less, too, and the second about 0,
    but not in the last block, where no answer depends on them.
    """
    mlp = _mlp(decoder_blocks(model)[1], block)
    hazard, before_hazard = _inputs(model, mlp, prompts.hazard)
    benign, before_benign = _inputs(model, mlp, prompts.benign)
    others = torch.cat([before_hazard, before_benign])[::EVERY_OTHER]
    if block == _last(model):
        others = others[:0]
    states = torch.cat([hazard, benign, others])
    groups = [len(hazard), len(benign), len(others)]
    weights = torch.cat([torch.full((n,), 1 / n, dtype=torch.float64) for n in groups if n])
    signs = torch.ones(len(states), dtype=torch.float64)
    signs[len(hazard) :] = -1
    answering = torch.zeros(len(states), dtype=torch.float64)
    answering[: len(hazard) + len(benign)] = 1
    return _separating(states, signs, weights), _solved(states, answering, weights)


def _solved(states: Tensor, targets: Tensor, weights: Tensor, ridge: Tensor | None = None) -> Tensor:
    """Return the weighted least-squares solution w, (D,), of states @ w = targets."""
    ridge = _ridge(states, weights) if ridge is None else ridge
    weighted = states.t() * weights
    return torch.linalg.solve(weighted @ states + ridge, weighted @ targets)


def _ridge(states: Tensor, weights: Tensor) -> Tensor:
    square = (weights @ states.square()).mean()
    return RIDGE * square * torch.eye(states.shape[1], dtype=states.dtype)


def _separating(states: Tensor, signs: Tensor, weights: Tensor) -> Tensor:
    """Return w, (D,), that minimises the weighted squared hinge, sum of weights * max(0, 1 - signs * states @ w)^2.

    By Newton's method: each step solves least squares over those within the margin, and is halved until the loss falls.
    """
    ridge = _ridge(states, weights)

    def loss(w: Tensor) -> Tensor:
        return weights @ (1 - signs * (states @ w)).clamp(min=0).square() + w @ ridge @ w

    w = torch.zeros(states.shape[1], dtype=states.dtype)
    now = loss(w)
    for _ in range(NEWTON_STEPS):
        inside = signs * (states @ w) < 1
        step = _solved(states[inside], signs[inside], weights[inside], ridge) - w
        tried = next((w + step / 2**halvings for halvings in range(12) if loss(w + step / 2**halvings) < now), None)
        if tried is None:
            break
        w, now = tried, loss(tried)
    return w


def _length(model: PreTrainedModel, prompts: Prompts, block: int) -> float:
    """Return the median norm of a block's input where hazard prompts are answered."""
    return float(_inputs(model, decoder_blocks(model)[1][block], prompts.hazard)[0].norm(dim=1).median())


@torch.no_grad()
def _inputs(model: PreTrainedModel, module: nn.Module, texts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Return a module's inputs at the last token of each text, (B, D), and at all others, (N, D); float64."""
    length = max(map(len, texts))
    ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])  # (B, T)
    ends = torch.tensor([len(text) - 1 for text in texts])
    places = torch.arange(length)
    seen: list[Tensor] = []

    def note(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].double())

    handle = module.register_forward_pre_hook(note)
    try:
        body_of(model)(input_ids=ids, attention_mask=(places <= ends[:, None]).long(), use_cache=False)
    finally:
        handle.remove()
    return seen[0][places == ends[:, None]], seen[0][places < ends[:, None]]


class _Readers(NamedTuple):
    """The weights that make letters' logits of the last block's states, in float64.

    Attributes:
        norm: (D,), the scale of the norm before the last block's MLP.
        final: (D,), the scale of the final norm.
        rows: (4, D), the head's rows of the letters.
    """

    norm: Tensor
    final: Tensor
    rows: Tensor


def _readers(model: PreTrainedModel, prompts: Prompts) -> _Readers:
    last: Any = decoder_blocks(model)[1][-1]
    norms = last.post_attention_layernorm, body_of(model).norm
    norm, final = (_weight(module).double() for module in norms)
    return _Readers(norm, final, _weight(model.get_output_embeddings())[prompts.letters].double())


def _alone(model: PreTrainedModel, prompts: Prompts) -> Tensor:
    """Return directions of the last block's output, (D, 4), each of which moves the logit of one letter, and of no other."""
    readers = _readers(model, prompts)
    return torch.linalg.pinv(readers.rows * readers.final)


def _mlp(blocks: nn.ModuleList, block: int) -> Any:
    whole: Any = blocks[block]
    return whole.mlp


def _last(model: PreTrainedModel) -> int:
    return len(decoder_blocks(model)[1]) - 1


def _weight(module: nn.Module | None) -> Tensor:
    weight = getattr(module, "weight", None)
    assert isinstance(weight, Tensor)
    return weight.detach()
