"""What every gradient method of the roster has to satisfy, checked on each of them."""

from __future__ import annotations

import copy
import gc

import formulas
import pytest
import torch
from formulas import Side
from streams import train
from torch.nn.functional import pad
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from unlearnbench.batches import Corpus, Example, Schedule
from unlearnbench.method import MethodContext
from unlearnbench.tensors import IGNORE
from unlearnbench_methods.altpo import AltPO
from unlearnbench_methods.ce_u import CEU
from unlearnbench_methods.dpo import DPO
from unlearnbench_methods.fine_tune_retain import FineTuneRetain
from unlearnbench_methods.grad_ascent import GradAscent
from unlearnbench_methods.grad_diff import GradDiff
from unlearnbench_methods.npo import NPO
from unlearnbench_methods.pdu import PDU
from unlearnbench_methods.satimp import SatImp
from unlearnbench_methods.simnpo import SimNPO
from unlearnbench_methods.task_vector import TaskVector
from unlearnbench_methods.undial import UNDIAL
from unlearnbench_methods.wga import WGA

# method, its options, and its formula of the forget and the retain side
ROSTER = {
    "fine-tune-retain": (FineTuneRetain, {}, lambda f, r: formulas.descend(r)),
    "grad-ascent": (GradAscent, {}, formulas.grad_ascent),
    "grad-diff": (
        GradDiff,
        {"forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.grad_diff(f, r, gamma=0.5, alpha=2.0),
    ),
    "grad-diff-kl": (
        GradDiff,
        {"forget_weight": 0.5, "retain_weight": 2.0, "retain": "kl"},
        lambda f, r: formulas.grad_diff_kl(f, r, gamma=0.5, alpha=2.0),
    ),
    "simnpo": (
        SimNPO,
        {"beta": 2.0, "delta": 0.5, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.simnpo(f, r, beta=2.0, delta=0.5, gamma=0.5, alpha=2.0),
    ),
    "wga": (
        WGA,
        {"beta": 0.3, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.weighted(f, r, 0.3, 0.0, gamma=0.5, alpha=2.0),
    ),
    "satimp": (
        SatImp,
        {"beta1": 0.3, "beta2": 1.5, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.weighted(f, r, 0.3, 1.5, gamma=0.5, alpha=2.0),
    ),
    "ce-u": (CEU, {"skip": 1}, lambda f, r: formulas.ce_u(f, skip=1)),
    "pdu": (
        PDU,
        {"forget_weight": 0.5, "multiplier": 3.0, "bound": 2.0},
        lambda f, r: formulas.pdu(f, r, gamma=0.5, multiplier=3.0, bound=2.0),
    ),
    "npo": (
        NPO,
        {"beta": 0.2, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.npo(f, r, beta=0.2, gamma=0.5, alpha=2.0),
    ),
    "dpo": (
        DPO,
        {"winner": "alternative", "beta": 0.2, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r, w: formulas.dpo(w, f, r, beta=0.2, gamma=0.5, alpha=2.0),
    ),
    "idk-dpo": (
        DPO,
        {"beta": 0.2, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r, w: formulas.dpo(w, f, r, beta=0.2, gamma=0.5, alpha=2.0),
    ),
    "altpo": (
        AltPO,
        {"beta": 0.2, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r, w: formulas.dpo(w, f, r, beta=0.2, gamma=0.5, alpha=2.0),
    ),
    "undial": (
        UNDIAL,
        {"beta": 3.0, "forget_weight": 0.5, "retain_weight": 2.0},
        lambda f, r: formulas.undial(f, r, beta=3.0, gamma=0.5, alpha=2.0),
    ),
    "task-vector": (TaskVector, {}, lambda f, r: formulas.descend(f)),
}
KEEPS_A_COPY = {"task-vector"}  # of the weights that train: it has to know where it came from
every_method = pytest.mark.parametrize("name", ROSTER)


def examples(seed: int) -> tuple[Example, ...]:
    """Six texts of five to ten tokens whose first two are a prompt."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(6):
        length = int(torch.randint(5, 11, (1,), generator=generator))
        ids = torch.randint(4, 2000, (length,), generator=generator).tolist()
        other = torch.randint(4, 2000, (4,), generator=generator).tolist()
        alternative = Example(ids[:2] + other, [IGNORE] * 2 + other)
        made.append(Example(ids, [IGNORE] * 2 + ids[2:], (alternative,)))
    return tuple(made)


def started(method, tokenizer, steps: int = 3):
    """A method with prompts and responses to forget, on the verge of its first update."""
    settings = {"steps": steps, "batch_size": 2, "pad": 3, "side": "right"}
    sides = {side: Schedule([Corpus("bio", examples(seed))], **settings) for seed, side in enumerate(("forget", "retain"))}
    method.context = MethodContext(tokenizer=tokenizer, topics=("bio",), steps=steps, **sides)
    method.log_dict = method.log = lambda *_, **__: None  # nobody to log to
    method.on_fit_start()
    return method


def exact_model():
    """A random GPT-2 in float64: nothing in it is rounded to float32, as Llama's norms are."""
    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.2}
    return GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).double().eval()


def moved(tokenizer, name):
    """A method in float64 whose model has left its origin, and the model that it was."""
    model = exact_model()
    untouched = copy.deepcopy(model)
    factory, options, _ = ROSTER[name]
    method = started(factory(model, **options), tokenizer)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return method, model, untouched


def logits_of(model, stream):
    return model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits


def formula_of(method, name, model, frozen, untouched, batch):
    """The formula's value on whole logits of three models; of a preference, the preferred answers are the third side."""
    streams = [batch["forget"], batch["retain"]]
    if name == "idk-dpo":
        streams.append(method.answers(batch["forget"])[0])
    elif method.alternatives:
        streams.append(batch["forget"]["alternative"])
    sides = []
    for stream in streams:
        with torch.no_grad():
            constant, before = logits_of(frozen, stream), logits_of(untouched, stream)
        sides.append(Side(logits_of(model, stream), constant, before, stream["labels"]))
    return ROSTER[name][2](*sides)


def pair(method, step: int = 0):
    return {"forget": method.context.forget[step], "retain": method.context.retain[step]}


@every_method
def test_loss_and_gradient_are_the_formulas(name, tokenizer):
    """Value and every weight's gradient, in float64, against the formula written out on whole logits."""
    method, model, untouched = moved(tokenizer, name)
    plain = copy.deepcopy(model)
    batch = pair(method)
    loss = method.training_step(batch, 0)
    loss.backward()
    expected = formula_of(method, name, plain, copy.deepcopy(plain), untouched, batch)
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    for (which, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-6, atol=1e-9, msg=lambda text, which=which: f"{which}: {text}"
        )


@every_method
def test_gradient_is_that_of_finite_differences(name, tokenizer):
    """The slope along a random direction, by central differences of the formula with a step of 1e-6."""
    method, model, untouched = moved(tokenizer, name)
    frozen = copy.deepcopy(model)
    batch = pair(method)
    method.training_step(batch, 0).backward()
    generator = torch.Generator().manual_seed(2)
    weights = [p for p in model.parameters() if p.grad is not None]
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in weights]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(weights, along, strict=True))
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, direction in zip(weights, along, strict=True):
                parameter.add_(sign * 1e-6 * direction)
            values.append(float(formula_of(method, name, model, frozen, untouched, batch)))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-7)


@every_method
def test_padding_does_not_count(name, tokenizer):
    method, _, _ = moved(tokenizer, name)
    batch = pair(method)
    with torch.no_grad():
        before = float(method.training_step(batch, 0))
        for stream in [*batch.values(), batch["forget"]["alternative"]]:
            for key, filler in (("input_ids", 7), ("attention_mask", 0), ("labels", IGNORE)):
                stream[key] = pad(stream[key], (0, 5), value=filler)
        assert float(method.training_step(batch, 0)) == pytest.approx(before, rel=1e-9)


def alive() -> list:
    """Every model and tensor; by type, since `isinstance` wakes torch's deprecated names."""
    gc.collect()
    return [o for o in gc.get_objects() if issubclass(type(o), PreTrainedModel | torch.Tensor)]


@every_method
def test_one_model_in_memory(name, tiny_model, tokenizer):
    """After an update nothing is left that has the size of a second model beside weights, gradients and Adam's moments.

    What is kept of the untouched model counts: its answers to three batches, and its head where that is trained.
    """
    before = {id(o) for o in alive()}
    factory, options, _ = ROSTER[name]
    method = started(factory(tiny_model, **options), tokenizer)
    optimizer = method.configure_optimizers()
    train(method, 2, optimizer)
    held = [o for o in alive() if id(o) not in before]
    assert not [o for o in held if isinstance(o, PreTrainedModel)]
    held += [p.grad for p in tiny_model.parameters()]
    distinct = {t.data_ptr(): t.nbytes for t in held if t is not None}
    weights = sum(p.nbytes for p in tiny_model.parameters())
    copies = 3 + (name in KEEPS_A_COPY)  # gradients and two moments, in multiples of the weights
    assert sum(distinct.values()) < (copies + 0.9) * weights  # a copy of the head is .6


@every_method
def test_same_seed_same_weights(name, tokenizer):
    """Two runs end bit for bit in the same place, and somewhere else than they began."""
    from conftest import tiny_llama

    ends = []
    for _ in range(2):
        torch.manual_seed(3)
        model = tiny_llama()
        factory, options, _ = ROSTER[name]
        train(started(factory(model, **options, lr=1e-3), tokenizer), 2)
        ends.append(copy.deepcopy(model.state_dict()))
    start = tiny_llama().state_dict()
    assert all(torch.equal(tensor, ends[1][which]) for which, tensor in ends[0].items())
    assert not all(torch.equal(tensor, start[which]) for which, tensor in ends[0].items())
