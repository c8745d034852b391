"""Looks at a training while it goes on: score a few questions, keep the best weights, or stop a hopeless trial.

A look asks the half of the questions that chooses, and only benchmarks of right and wrong answers: they are cheap and draw no
random numbers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearnbench.errors import CellError
from unlearnbench.leaderboard.shares import Subset, forget_targets, keep_targets, summarise
from unlearnbench.models.forward import copy_of
from unlearnbench.planning.plan import LookPlan
from unlearnbench.records.tuning import Look, PrunedError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.selection import in_half

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from transformers import PreTrainedTokenizerBase

    from unlearnbench.records.items import ItemResult


class InterimScorer:
    """The looks at one training.

    Attributes:
        looks: looks so far; the first one is the untouched model's.
        seconds: seconds that they took.
    """

    def __init__(self, plan: LookPlan, row: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.looks: list[Look] = []
        self.seconds = 0.0
        self._plan, self._tokenizer, self._seed = plan, tokenizer, seed
        self._floors = plan.floors.get(row, {})
        self._base: dict[Subset, Tensor] = {}
        self._best: tuple[Look, dict[str, Tensor]] | None = None
        heads = [head for _, head in plan.columns]
        self._forget, self._keep = forget_targets(heads), keep_targets(heads)

    def look(self, model: Any, update: int, weights: Mapping[str, nn.Parameter]) -> None:
        """Look after so many updates; 0 is before the first.

        Raises:
            PrunedError: the trial is worse than earlier ones were here.
        """
        started = time.perf_counter()
        with _for_scoring(model):
            scores = self._scores(model)
        if not self._base:
            self._base = scores
            known = [target for target in (*self._forget, *self._keep) if scores[target.subset] > target.chance]
            self._forget = [target for target in self._forget if target in known]
            self._keep = [target for target in self._keep if target in known]
            if not self._forget or not self._keep:
                raise CellError(
                    "looks at the training see nothing: the model is at chance on what is forgotten, or on what is kept"
                )
        shares = summarise(self._forget, self._keep, scores, self._base)  # pyright: ignore[reportArgumentType]
        look = Look(update=update, forget=float(shares.forget), keep=float(shares.keep), score=float(shares.score))
        self.looks.append(look)
        # the untouched model is no candidate: it keeps everything
        if self._plan.keep_best and update and best_look(self.looks[1:], self._plan.keep_at_least) is look:
            self._best = (look, copy_of(weights))
        self.seconds += time.perf_counter() - started
        if (floor := self._floors.get(update)) is not None and look.score < floor:
            raise PrunedError(
                f"given up at update {update}: S {look.score:.3f} of a look, {floor:.3f} in earlier trials", self.looks
            )

    @torch.no_grad()
    def put_best_back(self, weights: Mapping[str, nn.Parameter]) -> int | None:
        """Put the best weights back; return the update they are from, or None where looks do not choose weights."""
        if self._best is None:
            return None
        look, kept = self._best
        for name, parameter in weights.items():
            parameter.copy_(kept[name])
        return look.update

    def _scores(self, model: Any) -> dict[Subset, Any]:
        """Return the mean over each subset that F and K need."""
        items: dict[str, Sequence[ItemResult]] = {}
        for plan, _ in self._plan.columns:
            subject = Subject(
                model=model, tokenizer=self._tokenizer, seed=self._seed, limit=self._plan.limit, progress=lambda _: None
            )
            values = list(plan.benchmark.evaluate(subject))
            items[plan.name] = in_half(values, plan.half, lambda item: item.id) if plan.all_asked else values
        scores: dict[Subset, Any] = {}
        for target in (*self._forget, *self._keep):
            values = [item.score for item in items[target.subset.benchmark] if item.scored and item.part in target.subset.parts]
            scores[target.subset] = sum(values) / max(len(values), 1)
        return scores


@contextlib.contextmanager
def _for_scoring(model: Any) -> Generator[None]:
    """Score in eval mode and without gradients; the mode of every module is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def interim_callback(scorer: InterimScorer, every: int, accumulate: int) -> Callback:
    """Return a Lightning callback that looks before the first update, then every so many, and after the last."""
    from lightning.pytorch import Callback

    class Looking(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            scorer.look(pl_module.model, 0, trained(pl_module))

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            update, piece = divmod(batch_idx + 1, accumulate)
            last = trainer.is_last_batch
            if piece == 0 and (update % every == 0 or last):
                scorer.look(pl_module.model, update, trained(pl_module))

    return Looking()


def trained(method: Any) -> dict[str, nn.Parameter]:
    """Return the weights that a method trains, by name."""
    return {name: parameter for name, parameter in method.model.named_parameters() if parameter.requires_grad}


def best_look(looks: Sequence[Look], keep_at_least: float) -> Look:
    """Return the look with the highest F of those that kept enough, else with the highest S; of equals the first."""
    kept = [look for look in looks if look.keep >= keep_at_least]
    return max(kept or looks, key=lambda look: look.forget if kept else look.score)
