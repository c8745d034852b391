"""ELM: continue texts as a novice would; the model is distilled towards its own answers, moved from an expert's to a novice's.

Source: Gandikota, Feucht, Marks and Bau, "Erasing Conceptual Knowledge from Language Models", arXiv:2410.02760; reference
    code rohitgandikota/erasing-llm.
    L = w_e CE(p_erase, p(x_forget)) + w_r CE(argmax p_0, p(x_retain)) + w_f CE(continuation | prompt),
    log p_erase = log p_0 + eta_t (log p_0(. | novice, x) - log p_0(. | expert, x)) + constant, eta_t from 1 at the first
    position to eta at the last; the continuations of forget prompts are the untouched model's own, as a novice.
Deviations:
    - Novice and expert are one sentence each with the topic's name in it; the reference has lists of concepts by hand.
    - Means are over counted positions, within each sequence, then over sequences; padding never counts.
    - Continuations are drawn before the first update from the first part of forget texts; the same ones serve the whole run.
    - Adapters have no dropout and a scale of 1, where the reference has 16 / 256, so that a learning rate means more.
    - No second model: what the untouched one answers is computed once per text and kept as final hidden states; where that
      would take more memory than the weights, its adapter is switched off or the original weights are put back.
    - The three terms share one forward.
    - Texts of less than 50 characters count; the reference leaves them out, as a topic's `min_chars: 50` does.
    - The rank is the reference code's, 256; the adapters that its authors published have rank 4.
Streams: forget and retain of one topic per update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.api import (
    IGNORE,
    PROJECTIONS,
    AdamW,
    Example,
    FrozenOutputs,
    Log,
    LossOf,
    MethodSpec,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    continue_texts,
    encode_prompts,
    hookimpl,
    next_tokens,
    over_positions,
    select_parameters,
    token_cross_entropy,
    train_only,
    upcast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROMPT = 0.5  # share of a forget text that is continued


class ELM(UnlearningMethod):
    """Erasure of language memory. Defaults: the reference code's for 7B and 8B models.

    Args:
        model: a decoder-only language model.
        eta: strength of the move from expert to novice at a text's last position; 0 distils the model towards itself.
        novice: sentence before a text that a novice writes; `{topic}` is the topic's name.
        expert: sentence before a text that an expert writes; `{topic}` likewise.
        erase_weight: weight of the term on forget texts.
        retain_weight: weight of the term on retain texts.
        fluency_weight: weight of the term on continuations; 0 draws none.
        continuations: number of continuations drawn per topic.
        continuation_tokens: largest length of a continuation, in tokens.
        layers: trained blocks, 0-based.
        parameters: regular expression for the trained matrices of these blocks.
        lr: learning rate, constant.
        adapter: `lora` trains a low-rank adapter on the chosen matrices, `none` the matrices themselves.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights; an adapter's factors are float32 anyway.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eta: NonNegativeFloat = 1000.0,
        novice: str = "The following was written by a novice who knows nothing about {topic}:\n",
        expert: str = "The following was written by an expert who knows everything about {topic}:\n",
        erase_weight: NonNegativeFloat = 1.0,
        retain_weight: NonNegativeFloat = 1.0,
        fluency_weight: NonNegativeFloat = 1.0,
        continuations: PositiveInt = 64,
        continuation_tokens: PositiveInt = 64,
        layers: list[int] = [4, 5, 6, 7],  # noqa: B006 - read only
        parameters: str = PROJECTIONS,
        lr: PositiveFloat = 5e-5,
        adapter: Literal["none", "lora"] = "lora",
        rank: PositiveInt = 256,
        master_weights: bool = True,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        chosen = select_parameters(model, parameters, layers)
        train_only(model, chosen)
        self.use_adapter(adapter, rank, [name.removesuffix(".weight") for name in chosen])
        self.eta, self.voices = eta, (novice, expert)
        self.weights = {"erase": erase_weight, "retain": retain_weight, "fluency": fluency_weight}
        self.continuations, self.continuation_tokens = continuations, continuation_tokens
        self.lr, self.master_weights = lr, master_weights
        self.fluent: dict[str, list[Example]] = {}

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the frozen and the trained model differ from the start
        forget, retain = self.context.forget, self.context.retain
        self.original = FrozenOutputs(self)
        sides = [(self.readable(forget[index]), retain[index]) for index in range(len(forget))]
        asked = [stream for forget_side, other in sides for stream in (forget_side, *self.voiced(forget_side), other)]
        self.original.prepare(asked)
        if self.weights["fluency"]:
            self.fluent = {corpus.topic: self._continued(corpus.topic, corpus.examples) for corpus in forget.corpora}

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        forget = self.readable(batch["forget"])
        sources = {
            "erase": lambda: forget,
            "retain": lambda: batch["retain"],
            "fluency": lambda: self._fluency(forget, batch_idx),
        }
        # a term without weight does not run
        streams = {name: sources[name]() for name, weight in self.weights.items() if weight}
        hidden = self.joined_hidden(list(streams.values()))
        losses: dict[str, Tensor] = {}
        for (name, stream), states in zip(streams.items(), hidden, strict=True):
            if name == "fluency":
                losses[name] = self.nll_of(states, stream)
            else:
                predicting, _ = next_tokens(stream["labels"])
                loss_of = self.erased(stream) if name == "erase" else self.kept(stream)
                losses[name] = over_positions(self.model, states, predicting, loss_of).total
        self.log_dict(losses)
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def erased(self, stream: Stream) -> LossOf:
        """Return the cross-entropy to the untouched model's distribution, moved from the expert's to the novice's."""
        plain, novice, expert = (
            self.original.hidden(variant)[next_tokens(variant["labels"])[0]] for variant in (stream, *self.voiced(stream))
        )  # (N, D) each
        strengths = ramp(next_tokens(stream["labels"])[0], self.eta)  # (N,)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            logits_of = self.original.logits  # (n, D) -> (n, V)
            target = moved(logits_of(plain[part]), logits_of(novice[part]), logits_of(expert[part]), strengths[part])
            return [token_cross_entropy(logits, target)]

        return loss_of

    def kept(self, stream: Stream) -> LossOf:
        """Return the negative log-likelihood of the tokens that the untouched model finds likeliest."""
        plain = self.original.hidden(stream)[next_tokens(stream["labels"])[0]]  # (N, D)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            likeliest = self.original.logits(plain[part]).argmax(dim=-1)
            return [F.cross_entropy(upcast(logits), likeliest, reduction="none")]

        return loss_of

    def voiced(self, stream: Stream) -> tuple[Stream, Stream]:
        """A stream as a novice and as an expert would have written it: the same counted tokens after another prefix."""
        tokenizer = self.context.tokenizer
        streams: list[Stream] = []
        for prefix in self._prefixes(stream["topic"]):
            examples = [prefixed(prefix, example, tokenizer.bos_token_id) for example in _examples(stream)]
            streams.append(self.stream_of(examples, stream))
        return streams[0], streams[1]

    def readable(self, stream: Stream) -> Stream:
        """Cut a stream to the length that the model can still read after a voice's sentence."""
        room = self._room(stream["topic"])
        return Stream(
            input_ids=stream["input_ids"][:, :room],
            attention_mask=stream["attention_mask"][:, :room],
            labels=stream["labels"][:, :room],
            topic=stream["topic"],
        )

    def _room(self, topic: str) -> int | None:
        """Tokens that are left of what the model reads, behind a voice's sentence and before one more."""
        longest = self.context_length
        return None if longest is None else max(longest - 1 - max(map(len, self._prefixes(topic))), 2)

    def _prefixes(self, topic: str) -> list[list[int]]:
        """Return the tokens of the novice's sentence and of the expert's."""
        return encode_prompts([voice.format(topic=topic) for voice in self.voices], self.context.tokenizer)

    def _continued(self, topic: str, examples: Sequence[Example]) -> list[Example]:
        """Return forget prompts with the untouched model's continuations as a novice, without the novice's sentence."""
        tokenizer = self.context.tokenizer
        prefix, room = self._prefixes(topic)[0], self._room(topic)
        opened = [_prompt(example)[:room] for example in examples[: self.continuations]]
        asked = [prefixed(prefix, Example(ids, list(ids)), tokenizer.bos_token_id).ids for ids in opened]
        with self.computation():
            written = continue_texts(
                self.model,
                tokenizer,
                asked,
                max_new_tokens=self.continuation_tokens,
                seed=f"{torch.initial_seed()} {topic}",
            )
        # what ended at once teaches nothing, unless all did: then the prompts themselves are what there is to say
        pairs = [Example(ids + new, [IGNORE] * len(ids) + new) for ids, new in zip(opened, written, strict=True) if new]
        return pairs or [Example(ids, list(ids)) for ids in opened]

    def _fluency(self, forget: Stream, index: int) -> Stream:
        pool, rows = self.fluent[forget["topic"]], len(forget["input_ids"])
        update, piece = divmod(index, self.context.accumulate)
        first = (update // len(self.context.topics) * self.context.accumulate + piece) * rows
        chosen = [pool[place % len(pool)] for place in range(first, first + rows)]
        return self.stream_of(chosen, forget)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights)


def moved(plain: Tensor, novice: Tensor, expert: Tensor, strengths: Tensor) -> Tensor:
    """Return the logits of p_erase, up to a constant: (n, V), float32 at least.

    Args:
        plain: (n, V), the untouched model's logits.
        novice: (n, V), the untouched model's logits after the novice's sentence.
        expert: (n, V), the untouched model's logits after the expert's sentence.
        strengths: (n,), eta of each position.
    """
    # logits instead of log-probabilities: each row's constant does not matter, and with eta 0 this is p_0 bit for bit
    return upcast(plain) + strengths.unsqueeze(-1) * (upcast(novice) - upcast(expert))


def ramp(counted: Tensor, eta: float) -> Tensor:
    """Return a ramp from 1 at a sequence's first counted position to eta at its last: (N,), row-major; 0 where eta is 0."""
    place = counted.cumsum(dim=1) - 1  # (B, T)
    last = counted.sum(dim=1, keepdim=True) - 1
    share = (place / last.clamp_min(1))[counted]
    return (1 + (eta - 1) * share) * (eta > 0)


def prefixed(prefix: list[int], example: Example, bos: object) -> Example:
    """Put a prefix before a text; the same tokens are predicted as without it, and no others."""
    ids, labels = example.ids, [IGNORE, *example.labels[1:]]
    if ids[0] == bos and prefix[:1] == [bos]:
        ids, labels = ids[1:], labels[1:]
    return Example(prefix + ids, [IGNORE] * len(prefix) + labels)


def _examples(stream: Stream) -> list[Example]:
    rows = zip(stream["input_ids"], stream["labels"], stream["attention_mask"].bool(), strict=True)
    return [Example(ids[mask].tolist(), labels[mask].tolist()) for ids, labels, mask in rows]


def _prompt(example: Example) -> list[int]:
    """Return the prompt of a text, or the first part of a text that has none."""
    length = example.labels.count(IGNORE)
    return example.ids[: length or max(int(len(example.ids) * PROMPT), 1)]


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="elm",
            factory=ELM,
            summary="distil towards what a novice would write on forget texts, stay on retain texts",
            source="arXiv:2410.02760",
            training=Training(steps=750, batch_size=4, max_length=512, max_chars=700),
            space={"lr": Log(1e-5, 5e-3), "erase_weight": Log(0.25, 4.0), "retain_weight": Log(0.25, 4.0)},
        )
    ]
