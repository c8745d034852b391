"""The request for a retraining, and the recipe that follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.errors import Problems, UsageError, unknown_name
from unlearnbench.planning.request import Device
from unlearnbench.planning.settings import apply_settings, parse_setting
from unlearnbench.records.recipe import Recipe, TrainerOptions

ROW, METHOD = "retrain", "fine-tune-retain"
# OpenUnlearning's for models that know TOFU; the norm is what transformers' Trainer, which it uses, cuts at by default
EPOCHS, LR, BATCH_SIZE, WEIGHT_DECAY, CLIP_NORM = 5, 1e-5, 32, 0.01, 1.0
PIECES = 4  # of a batch at most: gradient_accumulation_steps of its configs/trainer/finetune.yaml at 247bd13
INSTEAD = {  # options of the method that are not for --set here
    "method": "a reference is trained on the retain texts and nothing else",
    "steps": "--epochs says how long it trains",
    "lr": "--lr sets it",
    "batch_size": "--batch-size sets it",
    "max_length": "--max-length sets it",
    "adapter": "a reference is trained in all its weights",
    "rank": "a reference is trained in all its weights",
    "salient": "a reference is trained in all its weights",
}


@dataclass(frozen=True, kw_only=True)
class RetrainingRequest:
    """A request for a retraining, not checked yet.

    Attributes:
        model: source of the untaught model.
        retain: sources of the retain texts; one that is named twice counts once.
        out: folder of the retrained model.
        cache: user's cache, for file hashes.
        epochs: number of passes over the texts.
        lr: peak learning rate.
        batch_size: number of texts per update.
        max_length: number of tokens at which a text is cut; None for the method's default.
        seed: seed of the order of the texts.
        dtype: dtype of the weights; `auto` as in a recipe.
        device: device to train on.
        settings: `trainer.OPTION=VALUE`, or further options of the training as `retrain.OPTION=VALUE`.
    """

    model: str
    retain: Sequence[str]
    out: Path
    cache: Path
    epochs: int = EPOCHS
    lr: float = LR
    batch_size: int = BATCH_SIZE
    max_length: int | None = None
    seed: int = 0
    dtype: str = "auto"
    device: Device = "auto"
    settings: Sequence[str] = ()


def retraining_recipe(request: RetrainingRequest, texts: int, problems: Problems) -> Recipe:
    """Return the recipe of a comparison with this one row; its number of updates follows from the epochs."""
    batch = max(request.batch_size, 1)
    options: dict[str, Any] = {
        "method": METHOD,
        "lr": request.lr,
        "weight_decay": WEIGHT_DECAY,
        "steps": max(math.ceil(texts * request.epochs / batch), 1),
        "batch_size": batch,
        "accumulate": math.gcd(batch, PIECES),
        "lr_schedule": "linear",
        "lr_warm_up": 1 / max(request.epochs, 2),  # the first epoch; of a single one its first half
    }
    if request.max_length is not None:
        options["max_length"] = request.max_length
    trainer = TrainerOptions(gradient_clip_val=CLIP_NORM)
    recipe = Recipe(name=ROW, model=request.model, methods={ROW: options}, trainer=trainer)
    for text in request.settings:
        with problems.noted():
            _check_setting(text)
            recipe = apply_settings(recipe, [text])
    if recipe.trainer.devices > 1:
        problems.add(UsageError(f"retrain trains in one process; trainer.devices is {recipe.trainer.devices}: leave it out."))
    return recipe


def _check_setting(text: str) -> None:
    """Refuse a setting that belongs neither to the trainer nor to the row, or that has an option of its own."""
    name, option, _ = parse_setting(text)
    if name not in ("trainer", ROW):
        advice = "It must be trainer, as in trainer.precision=bf16-mixed, or retrain, as in retrain.checkpointing=true."
        raise unknown_name("name in --set", name, ("trainer", ROW), advice)
    if name == ROW and option in INSTEAD:
        raise UsageError(f"--set {text} is not for retrain: {INSTEAD[option]}.")
