"""The untouched model's answers without a second model: kept hidden states, or the one model made untouched for a moment."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.streams import batch, prepare, train
from helpers.whole_forward import distillation, kl_divergence
from torch.nn import functional as F
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from unlearnbench.data.batches import IGNORE
from unlearnbench.models.head import _as_product, final_hidden, head_logits, over_positions, sequence_nll
from unlearnbench.models.tensors import (
    next_token_nll,
    next_tokens,
    per_sequence_weights,
    token_nll,
)
from unlearnbench.training.frozen_base import FrozenNLL, FrozenOutputs
from unlearnbench.training.microbatches import KEPT_AT_ONCE, pieces_of, sum_of_losses
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.scrub import SCRUB


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("limit", [None, 0], ids=["kept", "live"])
def test_reference_is_the_untouched_model(tiny_model, tokenizer, adapter, limit):
    """Bit for bit what the same passes gave at the start, after updates of every weight, the head among them."""
    method = prepare(LLMU(tiny_model, lr=1e-3, answers=2, adapter=adapter, rank=4), tokenizer)
    streams = [batch(method, step)["retain"] for step in range(4)]
    reals = [stream["attention_mask"].bool() for stream in streams]

    def answers(stream, real):
        with torch.no_grad():
            return head_logits(tiny_model, final_hidden(tiny_model, stream)[real])

    start = [answers(stream, real) for stream, real in zip(streams, reals, strict=True)]
    reference = FrozenOutputs(method, limit=limit)
    reference.prepare(streams)
    train(method, 3)
    for stream, real, expected in zip(streams, reals, start, strict=True):
        assert torch.equal(reference.logits(reference.hidden(stream)[real]), expected)
        assert not torch.equal(answers(stream, real), expected)


def test_kept_answers_need_no_copy_of_the_weights(tiny_model, tokenizer):
    """Of the whole model only the head is held a second time."""
    method = prepare(SCRUB(tiny_model, lr=1e-3), tokenizer)
    assert not method._original
    assert set(method.teacher._original_head) == {"model.embed_tokens.weight"}


@pytest.fixture
def three_at_a_time(monkeypatch):
    """Logits of three positions, fewer than the tests' models are wide."""
    monkeypatch.setattr("unlearnbench.models.head.LOGITS_AT_ONCE", {"cpu": 3 * 2048, "cuda": 1})
    monkeypatch.setattr("unlearnbench.models.head.PRODUCT_ROWS", 1)


def test_loss_in_chunks_is_the_loss_of_whole_logits(tiny_model, tokenizer, three_at_a_time):
    """Value and gradients of every weight, tied head included, with chunks of three positions."""
    method = prepare(LLMU(tiny_model, answers=2), tokenizer)
    stream = batch(method)["forget"]
    whole = token_nll(method.logits(stream), stream["labels"]).mean()
    whole.backward()
    expected = {name: parameter.grad.clone() for name, parameter in tiny_model.named_parameters()}
    tiny_model.zero_grad()
    ours = method.nll(stream)
    (2 * ours).backward()
    assert float(ours.detach()) == pytest.approx(float(whole.detach()), rel=1e-6)
    for name, parameter in tiny_model.named_parameters():
        # the sums run over the positions in another order, and float32 rounds each as the processor adds it
        torch.testing.assert_close(parameter.grad, 2 * expected[name], rtol=1e-4, atol=5e-6)
    with torch.no_grad():
        assert float(method.nll(stream)) == pytest.approx(float(whole.detach()), rel=1e-6)


SHAPE = {"vocab_size": 2048, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {
    "soft-capped": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, head_dim=8, num_key_value_heads=2, final_logit_softcapping=1.5)
    ),
    "scaled": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.3)),
    "biased": lambda: PhiForCausalLM(PhiConfig(**SHAPE)),
    "untied": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=False)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", HEADS)
def test_gradients_of_a_head_in_chunks(family, dtype, three_at_a_time):
    """Of a head that is one product they are two more, whatever a family does to the logits; of others they are autograd's."""
    torch.manual_seed(0)
    model = HEADS[family]().to(dtype).eval()
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 9, 32, generator=generator, dtype=torch.float64).to(dtype)
    counted = torch.rand(2, 9, generator=generator) < 0.8
    targets = torch.randint(0, 2048, (int(counted.sum()),), generator=generator)
    head = model.get_output_embeddings()
    assert (_as_product(model, hidden, torch.promote_types(dtype, torch.float32)) is head) == (
        family != "biased" and dtype != torch.bfloat16
    )

    def loss_of(logits: torch.Tensor, part: slice) -> list[torch.Tensor]:
        nll = next_token_nll(logits, targets[part])
        return [nll, nll.square()]

    outcomes = []
    for chunked in (False, True):
        given = hidden.clone().requires_grad_()
        model.zero_grad()
        if chunked:
            loss = over_positions(model, given, counted, loss_of, (1.0, 0.1)).total
        else:
            weights = per_sequence_weights(counted, torch.promote_types(dtype, torch.float32))[counted] / 2
            terms = torch.stack(loss_of(head_logits(model, given[counted]), slice(None))) @ weights
            loss = terms[0] + 0.1 * terms[1]
        (3 * loss).backward()
        outcomes.append([loss.detach(), given.grad, *(parameter.grad for parameter in head.parameters())])
    precision = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 3e-2}[dtype]
    for ours, theirs in zip(*reversed(outcomes), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=precision, atol=precision * float(theirs.abs().max()))


@pytest.mark.parametrize("kept", [40, 1], ids=["kept", "again"])
@pytest.mark.parametrize("family", HEADS)
def test_gradients_of_each_sequences_likelihood(family, kept, three_at_a_time, monkeypatch):
    """Of a loss that is no sum over tokens, in float64, whether the chunks' logits stay or are computed again."""
    monkeypatch.setattr("unlearnbench.models.head.CHUNKS_KEPT", kept)
    torch.manual_seed(0)
    model = HEADS[family]().double().eval()
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(3, 20, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2048, (3, 20), generator=generator)
    labels[0, 14:] = labels[2, :3] = IGNORE
    predicting, targets = next_tokens(labels)
    head = model.get_output_embeddings()
    outcomes = []
    for chunked in (False, True):
        given = hidden.clone().requires_grad_()
        model.zero_grad()
        if chunked:
            nll = sequence_nll(model, given, labels)
        else:
            every = next_token_nll(head_logits(model, given[predicting]), targets)
            nll = torch.stack([part.sum() for part in every.split(predicting.sum(dim=1).tolist())])
        nll.square().sum().backward()
        outcomes.append([nll.detach(), given.grad, *(parameter.grad for parameter in head.parameters())])
    for ours, theirs in zip(*reversed(outcomes), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_terms_add_up(tiny_model, tokenizer):
    """Two terms in one pass: 2 entropy-free counts of one, weighted 2 and 3, give 5."""
    method = prepare(LLMU(tiny_model, answers=2), tokenizer)
    stream = batch(method)["forget"]
    predicting, _ = next_tokens(stream["labels"])
    loss = over_positions(
        tiny_model,
        final_hidden(tiny_model, stream),
        predicting,
        lambda logits, part: [logits[:, 0] * 0 + 1, logits[:, 0] * 0 + 1],
        (2.0, 3.0),
    )
    assert float(loss.total.detach()) == pytest.approx(5.0)
    assert loss.terms.tolist() == pytest.approx([1.0, 1.0])


def live_teacher(model, streams, loss_of, lr: float) -> None:
    """The plain loop: a deep copy as the teacher, whole logits, AdamW."""
    teacher = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for step, pair in enumerate(streams):
        optimizer.zero_grad()
        loss_of(model, teacher, step, pair).backward()
        optimizer.step()


def logits_of(model, stream):
    return model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits


def assert_close(ours, theirs) -> None:
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_scrub_equals_a_live_teacher(tiny_model, tokenizer):
    """Max and min steps, full weights; the first max step has no gradient on either side."""
    plain = copy.deepcopy(tiny_model)
    method = prepare(SCRUB(tiny_model, lr=1e-4, alpha=0.5, gamma=0.9, temperature=2.0, forget_steps=6), tokenizer)
    pairs = [batch(method, step) for step in range(8)]

    def loss_of(model, teacher, step, pair):
        stream = pair["forget" if method.is_max_step(step) else "retain"]
        predicting, _ = next_tokens(stream["labels"])
        student = logits_of(model, stream)
        with torch.no_grad():
            taught = logits_of(teacher, stream)
        divergence = kl_divergence(student, taught, predicting, 2.0)
        if method.is_max_step(step):
            return -divergence
        return 0.5 * divergence + 0.9 * token_nll(student, stream["labels"]).mean()

    live_teacher(plain, pairs, loss_of, 1e-4)
    train(method, 8)
    assert_close(tiny_model, plain)


@pytest.mark.parametrize("at_once", [2**25, 1], ids=["whole", "a sequence at a time"])
def test_llmu_equals_a_live_teacher_with_three_forwards(tiny_model, tokenizer, monkeypatch, at_once):
    """One concatenated forward, or pieces of it, and kept answers, against a forward per term and a deep copy."""
    monkeypatch.setitem(KEPT_AT_ONCE, "cpu", at_once)
    plain = copy.deepcopy(tiny_model)
    method = prepare(LLMU(tiny_model, lr=1e-4, answers=3), tokenizer)
    pairs = [batch(method, step) for step in range(6)]
    torch.manual_seed(7)
    drawn = [method.draw(pair["forget"]["topic"]) for pair in pairs]

    def loss_of(model, teacher, step, pair):
        bad, normal = pair["forget"], pair["retain"]
        mismatch = method.mismatch(bad, drawn[step])
        with torch.no_grad():
            target = logits_of(teacher, normal)
        ascent = token_nll(logits_of(model, bad), bad["labels"]).mean()
        random = token_nll(logits_of(model, mismatch), mismatch["labels"]).mean()
        kept = distillation(logits_of(model, normal), target, normal["attention_mask"].bool())
        return -0.5 * ascent + random + kept

    live_teacher(plain, pairs, loss_of, 1e-4)
    torch.manual_seed(7)
    train(method, 6, torch.optim.AdamW(tiny_model.parameters(), lr=1e-4, weight_decay=0.0))
    assert_close(tiny_model, plain)


def test_pieces_are_cut_between_sequences(tiny_model, tokenizer, monkeypatch):
    """Five sequences of two streams, two at a time; the gradient of a sum is the sum of the gradients."""
    method = prepare(LLMU(tiny_model), tokenizer)
    first, second = batch(method, 0)["forget"], batch(method, 1)["retain"]
    longer = {key: torch.cat([value, value[:1]]) for key, value in first.items() if key != "topic"}
    streams = {"first": {**longer, "topic": "bio"}, "second": second}
    width = max(stream["input_ids"].shape[1] for stream in streams.values())
    monkeypatch.setitem(KEPT_AT_ONCE, "cpu", 2 * width * tiny_model.config.num_hidden_layers * tiny_model.config.hidden_size)
    pieces = pieces_of(tiny_model, streams)
    assert [{name: len(own["input_ids"]) for name, own in piece.items()} for piece in pieces] == [
        {"first": 2},
        {"first": 1, "second": 1},
        {"second": 1},
    ]
    for name, stream in streams.items():
        assert torch.equal(torch.cat([piece[name]["input_ids"] for piece in pieces if name in piece]), stream["input_ids"])
    weight, unused = torch.nn.Parameter(torch.tensor([1.0, -2.0])), torch.nn.Parameter(torch.zeros(3))
    loss = sum_of_losses([weight, unused], [lambda: (weight**2).sum(), lambda: 3 * weight[0]])
    (2 * loss).backward()
    assert loss.item() == pytest.approx(1 + 4 + 3)
    assert weight.grad.tolist() == pytest.approx([2 * (2 + 3), 2 * -4])
    assert unused.grad is None or not unused.grad.any()


def test_head_is_the_familys_own(tiny_model):
    """Logits from hidden states are those of the whole forward."""
    ids = torch.randint(4, 2000, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        hidden = final_hidden(tiny_model, inputs)
        assert torch.equal(head_logits(tiny_model, hidden.flatten(0, 1)), tiny_model(ids).logits.flatten(0, 1))
        assert F.cosine_similarity(hidden[0, 0], hidden[0, 1], dim=0) < 1


ANSWERS = {"states": (FrozenOutputs, FrozenOutputs.hidden), "nll": (FrozenNLL, FrozenNLL.__call__)}


@pytest.mark.parametrize(("kind", "asked"), ANSWERS.values(), ids=ANSWERS)
def test_trials_of_a_search_share_the_answers(tiny_model, tokenizer, tmp_path, kind, asked):
    """The second trial reads what the first computed, bit for bit, and runs no block for it."""
    from dataclasses import replace

    method = prepare(LLMU(tiny_model, answers=2), tokenizer)
    method.context = replace(method.context, memory=tmp_path, reuse=True)
    streams = [batch(method, step)["retain"] for step in range(3)]
    first, second = kind(method), kind(method)
    first.prepare(streams)
    runs = []
    handle = tiny_model.model.layers[0].register_forward_hook(lambda *_: runs.append(1))
    second.prepare(streams)
    handle.remove()
    assert not runs
    assert all(torch.equal(asked(first, stream), asked(second, stream)) for stream in streams)
    assert method.context.reused["seconds"] > 0  # the second paid nothing, and is not cheaper for it


def test_answers_to_other_labels_are_others(tiny_model, tokenizer, tmp_path):
    """The same tokens with another prompt have another likelihood, also where trials share them."""
    from dataclasses import replace

    method = prepare(LLMU(tiny_model, answers=2), tokenizer)
    method.context = replace(method.context, memory=tmp_path, reuse=True)
    stream = batch(method, 0)["retain"]
    shorter = {**stream, "labels": stream["labels"].clone()}
    shorter["labels"][:, :4] = -100
    found = []
    for asked in (stream, shorter):
        before = FrozenNLL(method)
        before.prepare([asked])
        found.append(before(asked))
    assert (found[1] < found[0]).all()
