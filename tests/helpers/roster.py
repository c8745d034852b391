"""The roster's gradient methods, what they are held against, and texts for them."""

from __future__ import annotations

import copy

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from helpers import formulas
from unlearnbench.data.batches import IGNORE, Corpus, Example, Schedule
from unlearnbench.training.method import MethodContext
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


def examples(seed: int, length: int | None = None) -> tuple[Example, ...]:
    """Six texts of five to ten tokens whose first two are a prompt; or all of one length, the first token the prompt."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(6):
        own = length or int(torch.randint(5, 11, (1,), generator=generator))
        prompt = 1 if length else 2
        ids = torch.randint(4, 2000, (own,), generator=generator).tolist()
        other = torch.randint(4, 2000, (4,), generator=generator).tolist()
        alternative = Example(ids[:prompt] + other, [IGNORE] * prompt + other)
        made.append(Example(ids, [IGNORE] * prompt + ids[prompt:], (alternative,)))
    return tuple(made)


def started(method, tokenizer, steps: int = 3, length: int | None = None):
    """A method with prompts and responses to forget, on the verge of its first update."""
    settings = {"steps": steps, "batch_size": 2, "pad": 3, "side": "right"}
    sides = {
        side: Schedule([Corpus("bio", examples(seed, length))], **settings) for seed, side in enumerate(("forget", "retain"))
    }
    method.context = MethodContext(tokenizer=tokenizer, topics=("bio",), steps=steps, **sides)
    method.log_dict = method.log = lambda *_, **__: None  # nobody to log to
    method.on_fit_start()
    return method


def exact_model():
    """A random GPT-2 in float64: nothing in it is rounded to float32, as Llama's norms are."""
    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.2}
    return GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).double().eval()


def moved(tokenizer, name: str, length: int | None = None, **options):
    """A method in float64 whose model has left its origin, that model, and the model that it was."""
    model = exact_model()
    untouched = copy.deepcopy(model)
    factory, own, _ = ROSTER[name]
    method = started(factory(model, **{**own, **options}), tokenizer, length=length)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return method, model, untouched


def logits_of(model, stream):
    return model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits


def pair(method, step: int = 0):
    return {"forget": method.context.forget[step], "retain": method.context.retain[step]}
