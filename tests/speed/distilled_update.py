"""One side of the SCRUB and LLMU figures: updates of SmolLM2 on texts of 512 tokens in batches of two, each seen once.

python distilled_update.py naive|ours scrub|llmu lora|none MODEL_FOLDER UPDATES
naive: a deep copy as live teacher, whole logits, one forward per term. Says the seconds of an update and the peak memory; ours
includes what it computes before the first update.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path

import torch
from figures import peak_bytes, resident_bytes
from rmu_update import context_of, corpus, trained
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer

from unlearnbench.data.batches import Schedule
from unlearnbench.models.loading import load_model
from unlearnbench.models.lora import LoraAdapter
from unlearnbench.models.restorable import LoadedModel
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.scrub import SCRUB

SEQUENCES, TOKENS, LR, RANK = 2, 512, 1e-5, 32
ALPHA, GAMMA, TEMPERATURE = 0.5, 0.99, 4.0  # SCRUB
BAD, RANDOM, NORMAL, ANSWERS = 0.5, 1.0, 1.0, 1  # LLMU
Pair = dict[str, dict[str, Tensor]]


def schedules(vocabulary: int, updates: int) -> tuple[Schedule, Schedule]:
    settings = {"steps": updates, "batch_size": SEQUENCES, "pad": 0, "side": "right"}
    texts = SEQUENCES * updates
    sides = [corpus("topic", seed, texts, vocabulary, TOKENS) for seed in (0, 99)]
    return Schedule([sides[0]], **settings), Schedule([sides[1]], **settings)


def logits_of(model, stream: dict[str, Tensor]) -> Tensor:
    return model(input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False).logits


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Forward KL per position, as with F.kl_div."""
    ours = F.log_softmax(student.flatten(0, 1).float() / temperature, dim=-1)
    theirs = F.softmax(teacher.flatten(0, 1).float() / temperature, dim=-1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean")


def scrub_loss(model, teacher, step: int, pair: Pair, _method) -> Tensor:
    """Max and min steps in turns."""
    stream = pair["forget" if step % 2 == 0 else "retain"]
    with torch.no_grad():
        taught = logits_of(teacher, stream)
    student = logits_of(model, stream)
    kept = divergence(student, taught, TEMPERATURE)
    return -kept if step % 2 == 0 else ALPHA * kept + GAMMA * cross_entropy(student, stream["labels"])


def llmu_loss(model, teacher, step: int, pair: Pair, method) -> Tensor:
    """A forward for each term; the mismatched texts are ours, drawing them is no part of the figure."""
    bad, normal = pair["forget"], pair["retain"]
    mismatch = method.mismatch(bad, method.draw("topic"))
    with torch.no_grad():
        target = logits_of(teacher, normal)
    ascent = cross_entropy(logits_of(model, bad), bad["labels"])
    random = cross_entropy(logits_of(model, mismatch), mismatch["labels"])
    return -BAD * ascent + RANDOM * random + NORMAL * divergence(logits_of(model, normal), target, 1.0)


def build(name: str, adapter: str, model):
    if name == "scrub":
        options = {"alpha": ALPHA, "gamma": GAMMA, "temperature": TEMPERATURE, "forget_steps": 10**6}
        return SCRUB(model, lr=LR, adapter=adapter, rank=RANK, **options)
    weights = {"bad_weight": BAD, "random_weight": RANDOM, "normal_weight": NORMAL, "answers": ANSWERS}
    return LLMU(model, lr=LR, adapter=adapter, rank=RANK, **weights)


def naive(name: str, adapter: str, folder: str, forget: Schedule, retain: Schedule) -> float:
    """Seconds of all updates."""
    model = load_model(Path(folder), torch.float32, torch.device("cpu"))
    teacher = copy.deepcopy(model).requires_grad_(False)
    helper = None
    if name == "llmu":
        helper = LLMU(torch.nn.Module(), answers=ANSWERS)
        helper.context = context_of(forget, retain, AutoTokenizer.from_pretrained(folder))
        helper._pools = {"topic": retain.corpora[0].examples}
    if adapter == "lora":
        LoraAdapter(model, rank=RANK)
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in parameter_name)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=LR, weight_decay=0.0)
    loss_of = scrub_loss if name == "scrub" else llmu_loss
    started = time.perf_counter()
    for step in range(len(forget)):
        optimizer.zero_grad()
        loss_of(model, teacher, step, {"forget": forget[step], "retain": retain[step]}, helper).backward()
        optimizer.step()
    return time.perf_counter() - started


def ours(name: str, adapter: str, folder: str, forget: Schedule, retain: Schedule) -> float:
    """Seconds of all updates and of computing the reference's answers before them."""
    loaded = LoadedModel(folder, "float32", torch.device("cpu"))
    method = loaded.build(lambda model: build(name, adapter, model))
    prepared = []
    begin = method.on_fit_start

    def timed() -> None:
        started = time.perf_counter()
        begin()
        prepared.append(time.perf_counter() - started)

    method.on_fit_start = timed
    seconds, _ = trained(method, forget, retain, AutoTokenizer.from_pretrained(folder))
    return sum(seconds) + sum(prepared)


def main(side: str, name: str, adapter: str, folder: str, updates: int) -> None:
    before = resident_bytes()
    forget, retain = schedules(json.loads((Path(folder) / "config.json").read_text())["vocab_size"], updates)
    run = naive if side == "naive" else ours
    seconds = run(name, adapter, folder, forget, retain) / updates
    peak = peak_bytes()
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "beyond_imports": peak - before}))


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
