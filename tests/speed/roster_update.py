"""One side of the roster's figures: updates of SmolLM2 on 4 + 4 sequences of 128 tokens, every weight, AdamW, float32.

python roster_update.py naive|ours|checkpointed grad-diff|npo MODEL_FOLDER UPDATES
naive: whole logits, and for npo a deep copy of the model that runs live. checkpointed: ours with the budget's `checkpointing`.
Says the mean seconds of an update after the first two, those of what is computed before the first one, and the peak memory.
"""

from __future__ import annotations

import contextlib
import copy
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from distilled_update import cross_entropy, logits_of
from figures import peak_bytes, resident_bytes
from rmu_update import schedules, trained
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.data.batches import Schedule
from unlearnbench.models.forward import checkpointed
from unlearnbench.models.loading import load_model
from unlearnbench.models.restorable import LoadedModel
from unlearnbench_methods.grad_diff import GradDiff
from unlearnbench_methods.npo import NPO

LR, BETA = 1e-5, 0.1
METHODS = {"grad-diff": GradDiff, "npo": NPO}


def summed(logits: Tensor, labels: Tensor) -> Tensor:
    """Each sequence's negative log-likelihood: (B,)."""
    nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    return nll.view(len(labels), -1).sum(dim=1)


def naive_loss(name: str, model, reference, forget, retain) -> Tensor:
    """As the papers write it."""
    kept = cross_entropy(logits_of(model, retain), retain["labels"])
    if name == "grad-diff":
        return kept - cross_entropy(logits_of(model, forget), forget["labels"])
    with torch.no_grad():
        before = summed(logits_of(reference, forget), forget["labels"])
    distance = summed(logits_of(model, forget), forget["labels"]) - before
    return kept - 2 / BETA * F.logsigmoid(BETA * distance).mean()


def naive(name: str, folder: str, forget: Schedule, retain: Schedule) -> list[float]:
    """Seconds of the updates."""
    model = load_model(Path(folder), torch.float32, torch.device("cpu"))
    reference = copy.deepcopy(model).requires_grad_(False) if name == "npo" else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    seconds = []
    for step in range(len(forget)):
        started = time.perf_counter()
        optimizer.zero_grad()
        naive_loss(name, model, reference, forget[step], retain[step]).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return seconds


def ours(name: str, folder: str, forget: Schedule, retain: Schedule, again: bool) -> tuple[list[float], float]:
    """Seconds of the updates, and of what is computed before the first one."""
    loaded = LoadedModel(folder, "float32", torch.device("cpu"))
    method = loaded.build(lambda model: METHODS[name](model, lr=LR))
    begin, prepared = method.on_fit_start, []

    def timed() -> None:
        started = time.perf_counter()
        begin()
        prepared.append(time.perf_counter() - started)

    method.on_fit_start = timed
    with checkpointed(method.model) if again else contextlib.nullcontext():
        seconds = trained(method, forget, retain)[0]
    return seconds, prepared[0]


def main(side: str, name: str, folder: str, updates: int) -> None:
    before = resident_bytes()
    vocabulary = json.loads((Path(folder) / "config.json").read_text())["vocab_size"]
    forget, retain = schedules(1, updates, vocabulary)
    if side == "naive":
        seconds, prepared = naive(name, folder, forget, retain), 0.0
    else:
        seconds, prepared = ours(name, folder, forget, retain, again=side == "checkpointed")
    peak = peak_bytes()
    said = {"seconds": statistics.mean(seconds[2:] or seconds), "prepared": prepared}
    print(json.dumps({**said, "peak_bytes": peak, "beyond_imports": peak - before}))


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]))
