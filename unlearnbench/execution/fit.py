"""The fit of one job: streams, context and Lightning's Trainer. The only place that builds one."""

from __future__ import annotations

import contextlib
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from unlearnbench.execution.distributed import rank_zero
from unlearnbench.execution.interim_scores import InterimScorer, interim_callback
from unlearnbench.execution.interim_scores import trained as trained_by
from unlearnbench.execution.loggers import job_loggers
from unlearnbench.execution.provenance import peak_bytes
from unlearnbench.execution.training_log import MetricsFile
from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.models.forward import checkpointed
from unlearnbench.models.loading import padding_id
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.plugins.fingerprint import training_hash
from unlearnbench.records.cells import Cost
from unlearnbench.records.tuning import Look
from unlearnbench.system.files import content_hash
from unlearnbench.system.process_state import generators
from unlearnbench.system.stop_signals import heed
from unlearnbench.training.lr_schedule import follow_schedule

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import Logger
    from transformers import PreTrainedModel

    from unlearnbench.data.batches import Schedule
    from unlearnbench.execution.context import JobContext
    from unlearnbench.planning.plan import JobPlan
    from unlearnbench.training.method import MethodContext, UnlearningMethod


SIDES: tuple[Literal["forget", "retain"], ...] = ("forget", "retain")
EXPLODED = 1e4  # times the first loss, or 1 where that is smaller


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """The result of a fit.

    Attributes:
        delta: tensors that changed, or an adapter's factors; on the CPU.
        cost: cost of the fit.
        looks: looks at the training.
        best: number of the update that the weights are from, where looks chose it.
    """

    delta: dict[str, Tensor]
    cost: Cost
    looks: Sequence[Look] = ()
    best: int | None = None


def fit(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Fitted:
    """Train the method on its streams; afterwards the model is whole and changed."""
    fitted = _train(
        plan, loaded, context
    )  # a function of its own, so that optimizer and gradients are gone before what follows
    if stray := loaded.complete(fitted.delta):
        context.reporter.warn(f"{plan.job.variant} changed {stray[0]}, which is not among what it trains; it is put back")
    return fitted


def _train(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Fitted:
    import lightning.pytorch as pl

    from unlearnbench.data.batches import paired_loader

    training, plugin = plan.variant.training, plan.variant.plugin
    assert training is not None
    assert plugin is not None
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    def built(model: PreTrainedModel) -> UnlearningMethod:  # the same draws, whether a model is loaded already or not
        pl.seed_everything(plan.job.seed, workers=True, verbose=False)
        return plugin.spec.factory(model, **plan.variant.options)

    method = loaded.build(built, whole=context.looks is not None)
    scorer = None
    if context.looks is not None and method.automatic_optimization:  # an editor's weights change once, at the end
        scorer = InterimScorer(context.looks, plan.job.variant, loaded.tokenizer, plan.job.seed)
    trained = sum(parameter.numel() for parameter in method.trainable())
    with contextlib.ExitStack() as stack:
        metrics = None
        if context.trainer.logger != "none" and rank_zero():
            metrics = stack.enter_context(MetricsFile(context.run.log_path(plan.job), context.trainer.log_every_n_steps))
        watch = _watch(partial(context.reporter.step, plan.job), training.accumulate, metrics, method.logged, generators())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # Lightning's advice on data loader workers and loggers
        callbacks = [watch]
        if scorer is not None and context.looks is not None:
            callbacks.append(interim_callback(scorer, context.looks.every, training.accumulate))
        loggers = stack.enter_context(job_loggers(context.trainer.logger, plan.job, context.run, context.loggers))
        trainer = _trainer(plan, context, method, callbacks, loggers)
        method.context = _method_context(plan, loaded, context, method, trainer)
        if training.lr_schedule is not None:
            follow_schedule(method, training.lr_schedule, warm_up=training.lr_warm_up, steps=training.steps)
        loader = paired_loader(method.context.forget, method.context.retain)
        context.reporter.unlearning(plan.job, training.steps)
        started = time.perf_counter()
        if training.checkpointing:
            stack.enter_context(checkpointed(method.model))
        try:
            trainer.fit(method, loader)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None  # Lightning turns it into an exit
            raise
    reused = method.context.reused
    seconds = time.perf_counter() - started + reused.get("seconds", 0.0)
    best = scorer.put_best_back(trained_by(method)) if scorer is not None else None
    factors = method.adapter.factors() if method.adapter is not None else None
    method.finish()
    cost = Cost(
        unlearn_seconds=round(seconds - (scorer.seconds if scorer else 0.0), 3),
        look_seconds=round(scorer.seconds, 3) if scorer else None,
        reused_seconds=round(reused["seconds"], 3) if reused else None,
        peak_bytes=peak_bytes(),
        peak_gpu_bytes=torch.cuda.max_memory_allocated() if context.device.type == "cuda" else None,
        trained_parameters=trained,
        tokens=int(reused.get("tokens", 0)) or watch.tokens * trainer.world_size,
    )
    delta = loaded.delta() if factors is None else factors
    return Fitted(delta=delta, cost=cost, looks=scorer.looks if scorer else (), best=best)


def _method_context(
    plan: JobPlan, loaded: LoadedModel, context: JobContext, method: UnlearningMethod, trainer: Trainer
) -> MethodContext:
    """Return the streams, this process's share of them, and the other data that a method may use."""
    from unlearnbench.data.batches import Schedule, Share, encode_corpus
    from unlearnbench.training.method import MethodContext

    training = plan.variant.training
    assert training is not None
    sides: dict[str, Schedule] = {}
    readable = context_length(loaded.model)
    for side in SIDES:
        corpora = [
            encode_corpus(
                topic.forget if side == "forget" else topic.retain,
                topic.name,
                loaded.tokenizer,
                max_length=topic.longest(side, training.max_length),
                readable=readable,
                min_chars=topic.min_chars,
                max_chars=training.max_chars,
                alternatives=method.alternatives and side == "forget",
            )
            for topic in context.topics
        ]
        for corpus in corpora:
            check_ids((example.ids for example in corpus.examples), loaded.model)
            if corpus.cut and rank_zero():
                cut = f"{corpus.cut} of {len(corpus.examples)} {side} texts of {corpus.topic}"
                read = f"have more than the {readable:,} tokens that the model reads"
                context.reporter.warn(f"{plan.job.variant}: {cut} {read}, and are cut there")
        sides[side] = Schedule(
            corpora,
            steps=training.steps,
            batch_size=training.batch_size,
            pad=padding_id(loaded.tokenizer),
            side=method.padding_side,
            shuffle_seed=plan.job.seed if training.order == "shuffled" else None,
        )
        sides[side].share = Share(training.accumulate, trainer.world_size, trainer.global_rank)
    code = [plan.variant.plugin.source_hash if plan.variant.plugin else None, training_hash()]
    computed = [context.dtype, context.trainer.precision, vars(training), plan.job.seed]
    passed = [*code, plan.variant.weights, *computed, *(topic.identity() for topic in context.topics)]
    return MethodContext(
        tokenizer=loaded.tokenizer,
        topics=tuple(topic.name for topic in context.topics),
        steps=training.steps,
        accumulate=training.accumulate,
        memory=context.cache.folder(content_hash(passed)) if context.memory is None else context.memory / content_hash(passed),
        reuse=context.memory is not None,
        original=loaded.base,
        **sides,
    )


def _trainer(
    plan: JobPlan, context: JobContext, method: UnlearningMethod, callbacks: Sequence[Any], loggers: list[Logger]
) -> Trainer:
    """Return Lightning's Trainer with the recipe's settings."""
    import lightning.pytorch as pl

    training, options = plan.variant.training, context.trainer
    assert training is not None
    manual = not method.automatic_optimization
    trainer = pl.Trainer(
        accelerator="gpu" if context.device.type == "cuda" else "cpu",
        devices=1 if method.one_process else options.devices,
        strategy="auto" if method.one_process else options.strategy,
        precision=options.precision,
        logger=loggers,
        log_every_n_steps=options.log_every_n_steps,
        gradient_clip_val=None if manual else options.gradient_clip_val,
        gradient_clip_algorithm=None if manual else options.gradient_clip_algorithm,
        deterministic=options.deterministic,
        detect_anomaly=options.detect_anomaly,
        accumulate_grad_batches=training.accumulate,
        max_epochs=1,  # the schedules are as long as the budget
        use_distributed_sampler=False,  # they hand out each process's share themselves, in order
        callbacks=[*callbacks, *context.callbacks(plan.job)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # who is asked to stop decides what becomes of it: Lightning's handlers would end the fit as a failure, and requeue jobs
    trainer._signal_connector.register_signal_handlers = lambda: None  # pyright: ignore[reportPrivateUsage]
    return trainer


def _watch(
    report: Callable[[float | None], None],
    accumulate: int,
    metrics: MetricsFile | None,
    logged: dict[str, list[Tensor]],
    as_built: Callable[[], None],
) -> Any:
    """Return a Lightning callback that counts tokens, reports the loss, and stops when it is not a number or explodes.

    What is random goes on from where building the method left it: with several processes Lightning seeds them once more.
    """
    from lightning.pytorch import Callback, LightningModule

    class Watching(Callback):
        tokens = 0
        first: float | None = None

        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            as_built()

        def check(self, loss: float, update: int) -> None:
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at update {update}")
            if self.first is None:
                self.first = loss
            if abs(loss) > EXPLODED * max(1.0, abs(self.first)):
                raise FloatingPointError(f"the loss exploded from {self.first:.4g} to {loss:.4g} at update {update}")

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            heed()  # a method may have swallowed it
            self.tokens += sum(int(stream["attention_mask"].sum()) for stream in batch.values())
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
            # over all processes, so that all stop where one of them would
            value = None if loss is None else float(trainer.strategy.reduce(loss, reduce_op="mean"))
            update, piece = divmod(batch_idx, accumulate)
            if value is not None:
                self.check(value, update)
            if piece == accumulate - 1:
                report(value)
                if metrics is not None:
                    metrics.write(update, logged)
                logged.clear()

    return Watching()
