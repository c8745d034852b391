"""Trials of a search on SmolLM2 with Lightning, each as a job does it: build, fit, delta, restore; scoring and disk apart.

python tune_trials.py rmu MODEL_FOLDER TRIALS shared|alone
RMU on 12 updates of 4 + 4 sequences of 256 tokens at block 7; each trial has another coefficient, weight or learning rate.
`shared` keeps what trials share, as a search does. Says the seconds, from before the model is loaded.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from figures import peak_bytes
from lightning.pytorch import Trainer
from rmu_update import context_of, corpus

from unlearnbench.data.batches import Schedule, paired_loader
from unlearnbench.models.restorable import LoadedModel
from unlearnbench_methods.rmu import RMU

LAYER, SEQUENCES, TOKENS, UPDATES = 7, 4, 256, 12
SETTINGS = list(itertools.product((100.0, 200.0, 300.0), (10.0, 100.0), (1e-4, 1e-3)))  # coefficient, alpha, lr: 12


def main(folder: str, trials: int, shared: bool) -> None:
    started = time.perf_counter()
    loaded = LoadedModel(folder, "float32", torch.device("cpu"))
    vocabulary = len(loaded.tokenizer)
    options = {"steps": UPDATES, "batch_size": SEQUENCES, "pad": 0, "side": "left"}
    forget, retain = (Schedule([corpus("topic", seed, SEQUENCES * UPDATES, vocabulary, TOKENS)], **options) for seed in (0, 99))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as memory:
        context = replace(context_of(forget, retain), memory=Path(memory) if shared else None, reuse=shared)
        for coefficient, alpha, lr in SETTINGS[:trials]:
            own = {"layer": LAYER, "coefficient": coefficient, "alpha": alpha, "lr": lr, "diagnostics": 0}
            method = loaded.build(lambda model, own=own: RMU(model, **own))
            method.context = context
            Trainer(accelerator="cpu", devices=1, max_epochs=1, **quiet).fit(method, paired_loader(forget, retain))
            loaded.delta()
            loaded.restore()
    print(json.dumps({"seconds": time.perf_counter() - started, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "shared")
