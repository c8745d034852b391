"""One side of the RMU figures: updates of SmolLM2 on 4 + 4 sequences of 128 tokens.

python rmu_update.py naive|ours MODEL_FOLDER TOPICS DTYPE UPDATES
Says the mean seconds of an update after the first two, and the peak memory.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from figures import HERE, peak_bytes, resident_bytes
from lightning.pytorch import Callback, Trainer

sys.path.insert(0, str(HERE.parent))
from helpers.naive_rmu import NaiveRMU

from unlearnbench.data.batches import Corpus, Example, Schedule, paired_loader
from unlearnbench.models.blocks import select_parameters
from unlearnbench.models.loading import load_model
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.training.method import MethodContext, UnlearningMethod
from unlearnbench_methods.rmu import OUTPUT_PROJECTION, RMU

LAYER, COEFFICIENT, ALPHA, LR = 7, 200.0, 100.0, 5e-5
SEQUENCES, TOKENS = 4, 128


def corpus(topic: str, seed: int, texts: int, vocabulary: int, tokens: int = TOKENS) -> Corpus:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(10, vocabulary, (texts, tokens), generator=generator).tolist()
    return Corpus(topic, tuple(Example(row, row) for row in rows))


def schedules(topics: int, updates: int, vocabulary: int) -> tuple[Schedule, Schedule]:
    """Each topic its own forget texts; all topics the same retain texts, as with Wikitext."""
    names = [f"topic{number}" for number in range(topics)]
    settings = {"steps": updates, "batch_size": SEQUENCES, "pad": 0, "side": "left"}
    texts = SEQUENCES * updates
    forget = Schedule([corpus(name, n, texts, vocabulary) for n, name in enumerate(names)], **settings)
    return forget, Schedule([corpus(name, 99, texts, vocabulary) for name in names], **settings)


class Clock(Callback):
    """Seconds and loss of every update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, _trainer: object, _module: object, outputs: dict, *_: object) -> None:
        self.losses.append(float(outputs["loss"]))
        self.seconds.append(time.perf_counter() - self.started)


def context_of(forget: Schedule, retain: Schedule, tokenizer=None) -> MethodContext:
    topics = tuple(corpus.topic for corpus in forget.corpora)
    return MethodContext(tokenizer=tokenizer, topics=topics, forget=forget, retain=retain, steps=len(forget))


def trained(method: UnlearningMethod, forget: Schedule, retain: Schedule, tokenizer=None) -> tuple[list[float], list[float]]:
    """Train with Lightning; seconds and losses of the updates."""
    clock = Clock()
    method.context = context_of(forget, retain, tokenizer)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", devices=1, max_epochs=1, callbacks=[clock], **settings)
    trainer.fit(method, paired_loader(forget, retain))
    return clock.seconds, clock.losses


def naive(folder: str, dtype: str, forget: Schedule, retain: Schedule) -> list[float]:
    """Seconds of the naive loop's updates."""
    model = load_model(Path(folder), getattr(torch, dtype), torch.device("cpu"))
    names = list(select_parameters(model, OUTPUT_PROJECTION, range(LAYER - 2, LAYER + 1)))
    controls, alphas = {}, {}
    for corpus in forget.corpora:
        draw = torch.rand(model.config.hidden_size)
        controls[corpus.topic] = (COEFFICIENT * draw / draw.norm()).to(model.dtype)
        alphas[corpus.topic] = ALPHA
    loop = NaiveRMU(model, layer=LAYER, names=names, controls=controls, alphas=alphas, lr=LR)
    seconds = []
    for step in range(len(forget)):
        started = time.perf_counter()
        loop.update({"forget": forget[step], "retain": retain[step]})
        seconds.append(time.perf_counter() - started)
    return seconds


def main(side: str, folder: str, topics: int, dtype: str, updates: int) -> None:
    before = resident_bytes()
    forget, retain = schedules(topics, updates, json.loads((Path(folder) / "config.json").read_text())["vocab_size"])
    if side == "naive":
        seconds = naive(folder, dtype, forget, retain)
    else:
        loaded = LoadedModel(folder, dtype, torch.device("cpu"))
        method = loaded.build(lambda model: RMU(model, layer=LAYER, coefficient=COEFFICIENT, alpha=ALPHA, lr=LR))
        seconds, _ = trained(method, forget, retain)
    peak = peak_bytes()
    # the first updates also warm caches up, and take the norms and cosines of the start
    said = {"seconds": statistics.mean(seconds[2:]), "peak_bytes": peak, "beyond_imports": peak - before}
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
