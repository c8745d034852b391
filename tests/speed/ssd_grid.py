"""SSD on SmolLM2 with so many settings of alpha and lambda: one pass over the corpora, then an edit for each.

python ssd_grid.py MODEL_FOLDER SETTINGS
Each setting is a job as in a comparison: build, fit by Lightning, delta, restore. Says the seconds without loading the model,
up to the first setting and up to the last: both hold the same pass, whose noise between two processes would exceed the edits.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from figures import peak_bytes
from lightning.pytorch import Trainer
from rmu_update import context_of, corpus

from unlearnbench.data.batches import Schedule, paired_loader
from unlearnbench.models.restorable import LoadedModel
from unlearnbench_methods.ssd import SSD

SEQUENCES, TOKENS, BATCHES = 4, 256, 30
ALPHAS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # the WMDP paper's selection thresholds
DAMPENING = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


def main(folder: str, settings: int) -> None:
    loaded = LoadedModel(folder, "float32", torch.device("cpu"))
    vocabulary = int(loaded.model.config.vocab_size)
    options = {"steps": BATCHES, "batch_size": SEQUENCES, "pad": 0, "side": "right"}
    forget, retain = (Schedule([corpus("topic", seed, SEQUENCES * BATCHES, vocabulary, TOKENS)], **options) for seed in (0, 99))
    context = context_of(forget, retain)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as memory:
        object.__setattr__(context, "memory", Path(memory))
        started, seconds = time.perf_counter(), []
        for alpha, dampening in itertools.islice(itertools.product(ALPHAS, DAMPENING), settings):
            method = loaded.build(lambda model, a=alpha, d=dampening: SSD(model, alpha=a, dampening=d))
            method.context = context
            Trainer(accelerator="cpu", devices=1, max_epochs=1, **quiet).fit(method, paired_loader(forget, retain))
            loaded.complete(loaded.delta())
            loaded.restore()
            seconds.append(time.perf_counter() - started)
    print(json.dumps({"first": seconds[0], "all": seconds[-1], "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
