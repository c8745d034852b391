"""What Lightning's trainer does to a method, with a real trainer."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from helpers.roster import ROSTER
from helpers.streams import TOPICS, schedules
from transformers import LlamaConfig, LlamaForCausalLM

from unlearnbench.data.batches import paired_loader
from unlearnbench.training.method import MethodContext
from unlearnbench_methods.adaptive_rmu import AdaptiveRMU
from unlearnbench_methods.elm import ELM
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.rmu import RMU
from unlearnbench_methods.rr import RR
from unlearnbench_methods.scrub import SCRUB
from unlearnbench_methods.ssd import SSD
from unlearnbench_methods.tar import TAR

METHODS = {
    "rmu": (RMU, {"layer": 2}),
    "llmu": (LLMU, {"answers": 1}),
    "scrub": (SCRUB, {"forget_steps": 2}),
    "ssd": (SSD, {}),
    "adaptive-rmu": (AdaptiveRMU, {"layer": 2}),
    "rr": (RR, {"targets": [1, 2], "rank": 2}),
    "elm": (ELM, {"layers": [1], "rank": 2, "continuations": 2, "continuation_tokens": 3}),
    "tar": (TAR, {"mapping_steps": 1, "inner_steps": 1, "inner_every": 1}),
    # those that ask for alternatives need a corpus that has some
    **{name: entry[:2] for name, entry in ROSTER.items() if name not in ("dpo", "altpo")},
}


class Watch(pl.Callback):
    """Collects whether the model trains, and the first update's logged values."""

    def __init__(self) -> None:
        self.training: list[bool] = []
        self.first: dict[str, float] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.training.append(any(module.training for module in pl_module.model.modules()))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if batch_idx == 0:
            self.first = {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore")  # of Lightning and torch among themselves
@pytest.mark.parametrize("name", METHODS)
def test_dropout_is_off(name, tokenizer):
    """A model with dropout: what compares the model with its former self must not compare two draws of noise."""
    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**shape, attention_dropout=0.5)).train()
    factory, options = METHODS[name]
    method = factory(model, **options)
    forget, retain = schedules(4, side=method.padding_side)
    method.context = MethodContext(tokenizer=tokenizer, topics=TOPICS, forget=forget, retain=retain, steps=4)
    watch = Watch()
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[watch], log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(method, paired_loader(forget, retain))
    assert watch.training == [False] * 4
    if name in ("rmu", "adaptive-rmu", "rr"):
        assert watch.first["retain/bio"] == 0.0
    if name == "scrub":
        assert watch.first["max/kl"] == 0.0
