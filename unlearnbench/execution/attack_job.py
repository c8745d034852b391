"""Attacks on the model of one job: trials, the choice among them, the cells under attack; the victim is put back after each.

Nothing of an attack is kept but choices, log-probabilities, counts and scores: attacked weights never reach the disk. Cut off,
an attack repeats the trials that its journal does not have, and then the chosen one, which is deterministic.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from unlearnbench.errors import CellError, StorageError
from unlearnbench.execution.cell import Unlearned, fail_job, summed_up
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.provenance import cell_provenance, environment, last_frames, peak_bytes
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.attacks import HALVES, AttackedColumn, AttackPlan
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.base import Half
from unlearnbench.records.cells import SELECTION, CellResult, Cost
from unlearnbench.records.items import ItemResult
from unlearnbench.robustness.attack import Attacked
from unlearnbench.robustness.victim import Victim
from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark, Subject
from unlearnbench.system.files import content_hash
from unlearnbench.system.journal import Journal
from unlearnbench.system.process_state import restored_process_state, seed_all
from unlearnbench.system.stop_signals import heed

OTHER: dict[Half, Half] = {"selection": "reporting", "reporting": "selection"}
Scored = dict[str, list[ItemResult]]  # items by benchmark


class Point(NamedTuple):
    """A model under attack that was scored on the half that chooses.

    Attributes:
        trial: number of the trial, from 1; 0 is the model as it was.
        at: number of steps that the attack had come, or of the block that it read; None where nothing is counted.
        score: mean over the parts to forget; None where the model no longer gives numbers.
    """

    trial: int
    at: int | None
    score: float | None


def attack_cells(plan: JobPlan, loaded: LoadedModel, context: JobContext, unlearned: Unlearned) -> Iterator[CellResult]:
    """Carry out what is due of the attacks on a job's model, yielding each cell once it is durable.

    Whatever an attack raises fails its own cells. The model is the job's own again afterwards, bit for bit.
    """
    groups: dict[tuple[str, int], list[str]] = {}
    for name in plan.due:
        key = plan.key(name)
        if key.attack is not None:
            groups.setdefault((key.attack, key.seed), []).append(name)
    for (label, seed), names in groups.items():
        part = replace(plan, due=tuple(names))
        run = _AttackRun(part, context.attacks[label], seed, loaded, context, unlearned)
        try:
            with restored_process_state():
                results = run.cells()
            yield from results
        except StorageError:
            raise
        except (Exception, SystemExit) as error:
            yield from fail_job(part, context, _reduced(error), Cost())


def _reduced(error: BaseException) -> Exception:
    """Return what may be told of an attack's error: of others' words its kind and place alone, for they may quote texts."""
    if isinstance(error, CellError):
        return error
    place = (last_frames(error) or ["an unknown place"])[-1]
    if isinstance(error, FloatingPointError):
        return FloatingPointError(f"not a finite number at {place}")
    return CellError(f"{type(error).__name__} at {place}")


class _AttackRun:
    """One attack on the model of one job, with one seed."""

    def __init__(
        self, plan: JobPlan, attack: AttackPlan, seed: int, loaded: LoadedModel, context: JobContext, unlearned: Unlearned
    ) -> None:
        self._plan, self._attack, self._seed = plan, attack, seed
        self._loaded, self._context, self._unlearned = loaded, context, unlearned
        self._spec = attack.plugin.spec
        self._figures: list[dict[str, float]] = []

    def cells(self) -> list[CellResult]:
        """Return the due cells, durable."""
        context, plan = self._context, self._plan
        columns = {name: self._attack.columns[plan.key(name).benchmark] for name in plan.due}
        questions = [len(column.questions(half)) for column in columns.values() for half in HALVES]
        context.reporter.scoring(plan.job, plan.due[0], sum(questions))
        keys = {name: self._cache_key(column) for name, column in columns.items()}
        kept = {name: context.cache.read(key) for name, key in keys.items()}
        cached = all(found is not None for found in kept.values())
        if not cached:
            started = time.perf_counter()
            items, facts = self._carried_out()
            seconds = round((time.perf_counter() - started) / len(columns), 3)
            figures = {"evaluate_seconds": seconds, **environment(context.device), "attack": facts}
            kept = {name: (figures, items[column.plan.name]) for name, column in columns.items()}
            for name, key in keys.items():
                context.cache.write(key, figures, items[columns[name].plan.name])
        results: list[CellResult] = []
        for name, column in columns.items():
            found = kept[name]
            assert found is not None
            figures, scored = found
            results.append(self._write(name, column, {**figures, "cached": cached}, scored))
        return results

    def _cache_key(self, column: AttackedColumn) -> str:
        told_apart = [self._unlearned.weights, self._context.dtype, self._attack.identity()]
        return content_hash(["attack", *told_apart, column.plan.identity(self._context.limit), self._seed])

    def _write(self, name: str, column: AttackedColumn, figures: dict[str, Any], items: Sequence[ItemResult]) -> CellResult:
        context, plan = self._context, self._plan
        provenance = cell_provenance(
            plan,
            column.plan,
            context.topics,
            context.trainer,
            dtype=context.dtype,
            limit=context.limit,
            weights=self._unlearned.weights,
        )
        seconds = figures["evaluate_seconds"]
        result = CellResult(
            key=plan.key(name),
            identity=plan.cells[name],
            metric=column.plan.benchmark.metric,
            cost=Cost(evaluate_seconds=seconds, peak_bytes=peak_bytes()),
            provenance={**provenance, **figures, "seed": self._seed},
            **summed_up(items, column.plan.benchmark),
        )
        context.run.write_cell(result, items)
        return result

    def _carried_out(self) -> tuple[Scored, dict[str, Any]]:
        """Return the items of every benchmark of the attack, and facts on how they came about."""
        spec, attack = self._spec, self._attack
        facts: dict[str, Any] = {
            "label": attack.label,
            "attack": attack.plugin.info.name,
            "distribution": f"{attack.plugin.info.distribution} {attack.plugin.info.version}",
            "source": attack.plugin.source_hash,
            "options": attack.options,
            "access": spec.access,
            "teaches": attack.teaches,
            "stress": spec.stress,
        }
        if attack.attack.cross_fitted:
            items = self._in_order({half: self._last(1, questions=OTHER[half], asked=(half,)) for half in HALVES})
            return items, {**facts, "figures": self._mean_figures()}
        if spec.stress:
            items = self._in_order(self._both(1))
            return items, {**facts, "figures": self._mean_figures()}
        points = [self._before(), *self._tried()]
        best = max((p for p in points if p.score is not None), key=lambda p: p.score or 0.0, default=points[0])
        chosen = None if best.trial == 0 else attack.attack.trials()[best.trial - 1]
        facts |= {
            "chosen": chosen,
            "at": best.at,
            "trials": [{"trial": p.trial, "at": p.at, "score": p.score} for p in points],
            "settings_of_trials": list(attack.attack.trials()),
        }
        items = self._untouched() if best.trial == 0 else self._in_order(self._both(best.trial, best.at))
        return items, {**facts, "figures": self._mean_figures()}

    def _mean_figures(self) -> dict[str, float]:
        """Return the attack's own figures, means over what was asked."""
        names = dict.fromkeys(name for figures in self._figures for name in figures)
        values = {name: [figures[name] for figures in self._figures if name in figures] for name in names}
        return {name: round(sum(of_name) / len(of_name), 6) for name, of_name in values.items()}

    def _both(self, trial: int, at: int | None = None) -> dict[Half, Scored]:
        scored = self._last(trial, questions="selection", asked=HALVES, at=at)
        return {half: {name: self._of_half(items, name, half) for name, items in scored.items()} for half in HALVES}

    def _of_half(self, items: Sequence[ItemResult], name: str, half: Half) -> list[ItemResult]:
        ids = {question.id for question in self._attack.columns[name].questions(half)}
        return [item for item in items if item.id in ids]

    def _last(self, trial: int, *, questions: Half, asked: Sequence[Half], at: int | None = None) -> Scored:
        """Carry out a trial as far as `at`, or to its end, and return the items of these halves."""
        items: Scored = {}
        with self._trial(trial, questions) as states:
            last: Attacked | None = None
            for state in states:
                last = state
                if at is None or state.at == at:
                    items = {
                        name: [item for half in asked for item in self._ask(state, name, column.halves[half])]
                        for name, column in self._attack.columns.items()
                    }
                if at is not None and state.at == at:
                    break
        if last is None or not items:
            raise CellError("the attack came to its end and left no model to be scored")
        return items

    def _before(self) -> Point:
        """Return the model as it was, on the items that trials are looked at with; nothing is scored again."""
        return Point(0, None, self._look_score(self._looked_at(self._untouched())))

    def _looked_at(self, items: Scored) -> Scored:
        ids = {name: {q.id for q in column.look.questions} for name, column in self._attack.columns.items()}
        return {name: [item for item in items[name] if item.id in asked] for name, asked in ids.items()}

    def _untouched(self) -> Scored:
        """Return the items of the row's own cells, marked by their halves.

        Raises:
            CellError: one of these cells failed.
        """
        found: Scored = {}
        for name in self._attack.columns:
            key, identity = self._plan.key(name), self._plan.cells[name]
            cell = self._context.run.read_cell(key, identity)
            if cell is None or cell.status != "done":
                raise CellError(f"the attack has no score of {name} to compare with: {key} failed")
            found[name] = self._context.run.read_items(key, identity)
        return self._in_order(
            {half: {name: self._of_half(items, name, half) for name, items in found.items()} for half in HALVES}
        )

    def _tried(self) -> Iterator[Point]:
        """Yield every state of every trial with its score; those that the journal has are not carried out again."""
        identity = content_hash([self._plan.job.identity, self._attack.identity()])
        path = self._context.run.trials_path(self._plan.job, self._attack.label, self._seed, identity)
        journal = Journal(path)
        journal.refresh()
        for number in range(1, len(self._attack.attack.trials()) + 1):
            if journal.get(str(number)) is None:
                started = time.perf_counter()
                points = self._scores_of(number)
                journal.add(str(number), {"points": points, "seconds": round(time.perf_counter() - started, 3)})
            for at, score in (journal.get(str(number)) or {}).get("points", ()):
                yield Point(number, at, score)

    def _scores_of(self, trial: int) -> list[tuple[int | None, float | None]]:
        """Return each state of a trial with its score; a trial that diverges ends there."""
        points: list[tuple[int | None, float | None]] = []
        try:
            with self._trial(trial, "selection") as states:
                for state in states:
                    asked = {name: column.look for name, column in self._attack.columns.items()}
                    items = {name: self._ask(state, name, look, last=False) for name, look in asked.items()}
                    points.append((state.at, self._look_score(items)))
        except FloatingPointError:
            points.append((None, None))
        return points

    def _look_score(self, items: Scored) -> float | None:
        """Return the mean over the parts that are to be forgotten; None where the answers are no numbers."""
        means: list[float] = []
        for name, column in self._attack.columns.items():
            if not all(math.isfinite(value) for item in items[name] for value in item.logprobs):
                return None
            for part in column.parts:
                scores = [item.score for item in items[name] if item.part == part]
                means += [sum(scores) / len(scores)] if scores else []
        return round(sum(means) / len(means), 6) if means else None

    def _ask(self, state: Attacked, name: str, benchmark: MultipleChoiceBenchmark, *, last: bool = True) -> list[ItemResult]:
        """Ask the attacked model; what it wrote, if it wrote anything, is left out.

        Args:
            state: model under attack.
            name: name of the benchmark.
            benchmark: the benchmark with the questions to ask.
            last: True where the answers are reported, False for a look at a trial.
        """
        subject = Subject(
            model=self._loaded.model,
            tokenizer=self._loaded.tokenizer,
            seed=self._seed,
            limit=None,
            progress=partial(self._context.reporter.scored, self._plan.job) if last else lambda count: None,
            base=self._context.base,
        )
        heed()
        with torch.no_grad():
            items = [replace(item, text="", question="", judgment="") for item in state.evaluate(benchmark, subject, name)]
        if last:
            self._figures.append(state.figures)
        if sorted(item.id for item in items) != sorted(question.id for question in benchmark.questions):
            raise CellError("the attack did not answer each of the questions once, under its own id")
        return items

    def _in_order(self, halves: dict[Half, Scored]) -> Scored:
        """Join both halves in the benchmark's order, each item marked by its half."""
        joined: Scored = {}
        for name, column in self._attack.columns.items():
            marks = {"selection": {SELECTION: 1.0}, "reporting": {SELECTION: 0.0}}
            marked = {item.id: replace(item, values=marks[half]) for half in HALVES for item in halves[half][name]}
            joined[name] = [marked[question.id] for question in column.asked]
        return joined

    @contextmanager
    def _trial(self, trial: int, questions: Half) -> Generator[Iterator[Attacked]]:
        """Carry out a trial on the victim, which is put back at the end."""
        loaded, attack = self._loaded, self._attack
        put_back = _remember(loaded, self._plan, self._context, weights=self._spec.access == "weights")
        seed_all(self._seed)
        victim = Victim(
            model=loaded.model,
            tokenizer=loaded.tokenizer,
            seed=self._seed,
            questions={name: column.questions(questions) for name, column in attack.columns.items()},
            corpora=attack.topics,
            step=self._step,
        )
        try:
            with closing(_generator(attack.attack.carry_out(victim, attack.attack.trials()[trial - 1]))) as states:
                yield states
        finally:
            del victim
            put_back()

    def _step(self, loss: float | None = None) -> None:
        heed()
        if loss is not None and not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss}")


def _generator(states: Iterator[Attacked]) -> Generator[Attacked]:
    yield from states


def _remember(loaded: LoadedModel, plan: JobPlan, context: JobContext, *, weights: bool) -> Callable[[], None]:
    """Remember the victim; return a function that puts it back, and checks that it is as it was to the bit.

    Copies stand in host memory where an attack has access to the weights. What they do not put back (hooks, other modules,
    weights that it was not to touch) is taken from the model's files and the job's delta.
    """
    before = loaded.state()
    trained = {name: parameter.requires_grad for name, parameter in loaded.model.named_parameters()}
    copies = {name: parameter.detach().to("cpu", copy=True) for name, parameter in loaded.model.named_parameters() if weights}

    def put_back() -> None:
        now = dict(loaded.model.named_parameters())
        if now.keys() == trained.keys():
            with torch.no_grad():
                for name, copy in copies.items():
                    if now[name].shape == copy.shape:
                        now[name].copy_(copy)
            loaded.model.zero_grad(set_to_none=True)
            loaded.model.eval()
            for name, wanted in trained.items():
                now[name].requires_grad_(wanted)
        if loaded.state() == before:
            return
        context.reporter.warn(f"an attack on {plan.job.variant} left traces in the model; it is loaded again")
        loaded.restore()
        stored = context.run.read_delta(context.run.delta_path_of(plan.job))
        if stored is not None:
            loaded.apply(stored[0])
        if loaded.state() != before:
            raise CellError("the model could not be put back as it was before the attack")

    return put_back
