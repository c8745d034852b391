"""Small random corpora for the tests of methods."""

from __future__ import annotations

import gc
import warnings

import torch
from torch import Tensor, nn

from unlearnbench.data.batches import Corpus, Example, Schedule, UnlearnBatch, paired_loader
from unlearnbench.training.method import MethodContext, UnlearningMethod

TOPICS = ("bio", "cyber")


def corpus(topic: str, seed: int, texts: int = 12) -> Corpus:
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for _ in range(texts):
        length = int(torch.randint(4, 12, (1,), generator=generator))
        ids = torch.randint(4, 2000, (length,), generator=generator).tolist()
        examples.append(Example(ids, list(ids)))
    return Corpus(topic, tuple(examples))


def schedules(steps: int = 8, topics: tuple[str, ...] = TOPICS, side: str = "left") -> tuple[Schedule, Schedule]:
    settings = {"steps": steps, "batch_size": 2, "pad": 0, "side": side}
    forget = Schedule([corpus(topic, number) for number, topic in enumerate(topics)], **settings)
    retain = Schedule([corpus(topic, 99) for topic in topics], **settings)
    return forget, retain


def prepare(
    method: UnlearningMethod, tokenizer, *, steps: int = 8, topics: tuple[str, ...] = TOPICS, **more
) -> UnlearningMethod:
    """Give a method its context and start it, without a trainer."""
    forget, retain = schedules(steps, topics, method.padding_side)
    method.context = MethodContext(tokenizer=tokenizer, topics=topics, forget=forget, retain=retain, steps=steps, **more)
    method.log_dict = method.log = lambda *_, **__: None  # nobody to log to
    method.on_fit_start()
    return method


def batch(method: UnlearningMethod, step: int = 0) -> UnlearnBatch:
    return {"forget": method.context.forget[step], "retain": method.context.retain[step]}


def live_bytes() -> int:
    """What all tensors in this process hold, storage by storage."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def train(method: UnlearningMethod, steps: int, optimizer: torch.optim.Optimizer | None = None) -> None:
    """The plainest training loop there is."""
    if optimizer is None:
        configured = method.configure_optimizers()
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    for step in range(steps):
        loss = method.training_step(batch(method, step), step)
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        method.on_train_batch_end(loss, batch(method, step), step)


def fit(
    method: UnlearningMethod, forget: Schedule, retain: Schedule, losses: list | None = None, callbacks=(), **options
) -> UnlearningMethod:
    """Train with a real Lightning trainer on the CPU, seed 0.

    Args:
        method: with or without an adapter.
        forget: its schedule; the topics are those of its corpora.
        retain: likewise.
        losses: gets the forget and the retain loss of each update.
        callbacks: of the trainer.
        options: likewise.
    """
    import lightning.pytorch as pl

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if losses is not None:
                logged = {k: float(v) for k, v in trainer.callback_metrics.items()}
                topic = forget[trainer.global_step - 1]["topic"]
                losses.append((logged[f"forget/{topic}"], logged[f"retain/{topic}"]))

    topics = tuple(corpus.topic for corpus in forget.corpora)
    method.context = MethodContext(tokenizer=None, topics=topics, forget=forget, retain=retain, steps=len(forget))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    pl.seed_everything(0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about torch's internals
        trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=1, callbacks=[Watch(), *callbacks], **quiet, **options)
        trainer.fit(method, paired_loader(forget, retain))
    method.finish()
    return method
