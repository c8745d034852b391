"""One side of the RMU figures: updates of SmolLM2 on 4 + 4 sequences of 128 tokens.

python rmu_update.py naive|ours MODEL_FOLDER TOPICS DTYPE UPDATES
Says the median seconds of an update after the first two, and the peak memory.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from figures import HERE, peak_bytes
from lightning.pytorch import Callback, Trainer

sys.path.insert(0, str(HERE.parent / "methods"))
from naive_rmu import NaiveRMU

from unlearnbench.batches import Corpus, Example, Schedule, paired_loader
from unlearnbench.method import MethodContext
from unlearnbench.models import load_model
from unlearnbench_methods.rmu import RMU

LAYER, COEFFICIENT, ALPHA, LR = 7, 200.0, 100.0, 5e-5
SEQUENCES, TOKENS = 4, 128


def corpus(topic: str, seed: int, texts: int, vocabulary: int) -> Corpus:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(10, vocabulary, (texts, TOKENS), generator=generator).tolist()
    return Corpus(topic, tuple(Example(row, row) for row in rows))


def schedules(topics: int, updates: int, vocabulary: int) -> tuple[Schedule, Schedule]:
    """Each topic its own forget texts; all topics the same retain texts, as with Wikitext."""
    names = [f"topic{number}" for number in range(topics)]
    settings = {"steps": updates, "batch_size": SEQUENCES, "pad": 0, "side": "left"}
    texts = SEQUENCES * updates
    forget = Schedule([corpus(name, n, texts, vocabulary) for n, name in enumerate(names)], **settings)
    return forget, Schedule([corpus(name, 99, texts, vocabulary) for name in names], **settings)


class Clock(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def main(side: str, folder: str, topics: int, dtype: str, updates: int) -> None:
    model = load_model(Path(folder), getattr(torch, dtype), torch.device("cpu"))
    forget, retain = schedules(topics, updates, int(model.config.vocab_size))
    names = tuple(c.topic for c in forget.corpora)
    method = RMU(model, layer=LAYER, coefficient=COEFFICIENT, alpha=ALPHA, lr=LR)
    method.context = MethodContext(tokenizer=None, topics=names, forget=forget, retain=retain, steps=updates)
    if side == "naive":
        torch.manual_seed(0)
        method.on_fit_start()
        model.requires_grad_(True)
        naive = NaiveRMU(model, layer=LAYER, names=list(method.trained), controls=method.controls, alphas=method.alphas, lr=LR)
        seconds = []
        for step in range(updates):
            started = time.perf_counter()
            naive.update({"forget": forget[step], "retain": retain[step]})
            seconds.append(time.perf_counter() - started)
    else:
        clock = Clock()
        settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        Trainer(accelerator="cpu", devices=1, max_epochs=1, callbacks=[clock], **settings).fit(
            method, paired_loader(forget, retain)
        )
        seconds = clock.seconds
    print(json.dumps({"seconds": statistics.mean(seconds[2:]), "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
