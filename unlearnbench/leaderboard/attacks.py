"""Figures of what attacks bring back of each row, and the worst case, from the cells under attack; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.context import TableContext
from unlearnbench.leaderboard.intervals import estimate, limits_of
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.recovery import AttackTarget, Recovery, gone_estimate, recovery, shared_level, worst_case
from unlearnbench.leaderboard.resampling import Level, ResampledScores, Run
from unlearnbench.leaderboard.shares import ShareTarget, Subset, is_whole
from unlearnbench.leaderboard.statistics import Quantity, interval
from unlearnbench.leaderboard.verdicts import Hiding
from unlearnbench.records.cells import SELECTION, CellKey, CellResult, PartScore
from unlearnbench.records.leaderboard import AttackedScores, AttackResult, AttackTrial, Estimate, WorstAttack
from unlearnbench.records.manifest import BASELINE, ManifestAttack, ManifestRow

Scope = Literal["all", "selection", "reporting"]
SCOPES: tuple[Scope, ...] = ("all", "selection", "reporting")


class AttackFigures(NamedTuple):
    """The figures of one row under one attack.

    Attributes:
        result: entry in the table, without the worst case.
        recovery: figures with their draws, on the items that the attack reports; None where there are none.
        by_half: figures on each half, for the choice of the worst case.
    """

    result: AttackResult
    recovery: Recovery | None = None
    by_half: Mapping[Scope, Recovery] = {}


class AttackTable:
    """The scores under attack of all rows, resampled with the table's own.

    Args:
        context: context of the table.
        items: outcomes of every finished cell by its name, those under attack among them.
    """

    def __init__(self, context: TableContext, items: Mapping[str, Outcomes]) -> None:
        self._context = context
        self._heads = {head.label: head for head in context.manifest.attacks}
        self._targets = [target for target in context.all_forget if not is_whole(context.heads[target.subset.benchmark])]
        self._keys = {name: key for row in context.manifest.rows for name, key in self._finished(row) if name in items}
        self._cells = {**self._plain(), **self._aligned(items)}
        self._scopes = {scope: self._resampled(scope) for scope in SCOPES}

    def _finished(self, row: ManifestRow) -> list[tuple[str, CellKey]]:
        cells = self._context.cells
        return [(name, row.key(name)) for name in row.attacked if name in cells and cells[name].status == "done"]

    def _plain(self) -> dict[CellKey, Outcomes]:
        """Return the items of the rows as they are, of the benchmarks that measure a topic."""
        context = self._context
        names = dict.fromkeys(target.subset.benchmark for target in self._targets)
        keys = [
            CellKey(variant=row.variant, benchmark=name, seed=seed)
            for row in context.manifest.rows
            for seed in row.seeds
            for name in names
        ]
        return {key: context.items[str(key)] for key in keys if str(key) in context.items}

    def _aligned(self, items: Mapping[str, Outcomes]) -> dict[CellKey, Outcomes]:
        """Return the items under attack in the order of those of the table."""
        first: dict[str, Outcomes] = {}
        for key, outcomes in self._plain().items():
            first.setdefault(key.benchmark, outcomes)
        known = {name: key for name, key in self._keys.items() if key.benchmark in first}
        return {key: items[name].in_order_of(first[key.benchmark]) for name, key in known.items()}

    def _resampled(self, scope: Scope) -> ResampledScores:
        """Return the scores of all rows, attacked or not, on one half of the items, or on all."""
        runs = list(dict.fromkeys(map(_run, self._cells)))
        numbers = {run: number for number, run in enumerate(runs)}
        scores = ResampledScores(runs, self._context.settings.resamples, self._context.settings.level)
        for name in dict.fromkeys(key.benchmark for key in self._keys.values()):
            chosen = self._chosen(name, scope)
            whole = {numbers[_run(key)]: outcomes for key, outcomes in self._cells.items() if key.benchmark == name}
            outcomes = {number: _only(found, chosen) for number, found in whole.items()}
            cells = {number: _summed(found) for number, found in outcomes.items()}
            subsets = [target.subset for target in self._targets if target.subset.benchmark == name]
            subsets += [subset for subset in self._context.subsets.values() if subset.benchmark == name]
            scores.add(self._context.heads[name], subsets, cells, outcomes)
        return scores

    def _chosen(self, benchmark: str, scope: Scope) -> NDArray[np.bool_]:
        """Return (N,), true for items of the half, as the first cell under attack marks them."""
        first = next(self._cells[key] for key in self._keys.values() if key.benchmark == benchmark)
        selection = first.values[SELECTION] > 0
        return {"all": np.ones_like(selection), "selection": selection, "reporting": ~selection}[scope]

    def figures(self, row: ManifestRow, label: str) -> AttackFigures:
        """Return the figures of one attack on a row; only its scores for the base and the reference."""
        head, context = self._heads[label], self._context
        scope: Scope = head.half or "all"
        cells = [context.cells[name] for name in row.attacked if row.key(name).attack == label and name in context.cells]
        failed = sum(cell.status != "done" for cell in cells)
        result = AttackResult(
            columns=self._columns(row, head, scope),
            failed=failed,
            chosen=_chosen_trials(cells),
            before=_before(cells),
            curve=_curve(cells),
            figures=_own_figures(cells),
        )
        if row.variant == BASELINE or row.variant in context.reference:
            return AttackFigures(result)
        missing = [who for who in (BASELINE, row.variant) if not self._attacked(who, head)]
        if missing:
            why = "failed" if failed or missing != [row.variant] else "is not there yet"
            return AttackFigures(result.model_copy(update={"notes": [f"No figures: the attack on {missing[0]} {why}."]}))
        by_scope = {part: self._recovery(row, head, part) for part in dict.fromkeys((scope, "selection", "reporting"))}
        found = by_scope[scope]
        level = context.settings.level
        result = result.model_copy(
            update={
                "scores": self._six(row, head, scope),
                "left_before": _estimate(found.left_before, level),
                "left": _estimate(found.left, level),
                "recovered": _estimate(found.recovered, level),
                "gone": None if found.left is None else gone_estimate(found.left, level),
                "topics": {name: (round(a, 6), round(b, 6)) for name, (a, b) in found.topics.items()},
                "counted": found.counted,
                "notes": [mark.sentence for mark in found.marks],
            }
        )
        return AttackFigures(result, found, {half: by_scope[half] for half in ("selection", "reporting")})

    def _attacked(self, variant: str, head: ManifestAttack) -> bool:
        have = {key.benchmark for key in self._keys.values() if (key.variant, key.attack) == (variant, head.label)}
        return have >= set(head.benchmarks)

    def _of(self, head: ManifestAttack, scope: Scope) -> list[ShareTarget]:
        """Return the forget measures that the attack is scored with; of few items a half may have none of one."""
        scores = self._scopes[scope]
        asked = [target for target in self._targets if target.subset.benchmark in head.benchmarks]
        return [target for target in asked if np.isfinite(scores.values[target.subset]).any()]

    def _recovery(self, row: ManifestRow, head: ManifestAttack, scope: Scope) -> Recovery:
        """Return what the attack brings back of a row on some of the items."""
        targets = [self._target(row, head, scope, target) for target in self._of(head, scope)]
        if not targets:
            return Recovery(None, None, None, {}, (), counted=False)
        return recovery(targets, teaches=head.teaches, level=self._context.settings.level)

    def _target(self, row: ManifestRow, head: ManifestAttack, scope: Scope, target: ShareTarget) -> AttackTarget:
        """Return one forget measure with its six scores."""
        context, scores = self._context, self._scopes[scope]
        subset = target.subset
        referred = bool(context.reference) and target.referred
        reference = scores.reference(context.reference, subset) if referred and self._there(scores, context.reference) else None
        under = [_attacked_name(name, head.label) for name in context.reference]
        reference_attacked = scores.reference(under, subset) if reference and self._there(scores, under) else None
        before, after = _paired(
            _quantity(scores, row.variant, subset), _quantity(scores, _attacked_name(row.variant, head.label), subset)
        )
        return AttackTarget(
            topic=target.name,
            base=_level(_quantity(scores, BASELINE, subset)),
            row=before,
            base_attacked=_level(_quantity(scores, _attacked_name(BASELINE, head.label), subset)),
            row_attacked=after,
            chance=target.chance,
            reference=reference,
            reference_attacked=reference_attacked,
            sign=1.0 if context.heads[subset.benchmark].metric.better == "higher" else -1.0,
            informative=context.knows(subset),
        )

    def _there(self, scores: ResampledScores, variants: Sequence[str]) -> bool:
        have = {run.variant for run in scores.runs}
        return all(variant in have for variant in variants)

    def _six(self, row: ManifestRow, head: ManifestAttack, scope: Scope) -> dict[str, AttackedScores]:
        """Return the six scores of each forget measure."""
        found: dict[str, AttackedScores] = {}
        for each in self._of(head, scope):
            target = self._target(row, head, scope, each)
            figures = {
                name: round(float(level.value), 6)
                for name, level in target._asdict().items()
                if isinstance(level, Level | Quantity)
            }
            found[f"{each.name} ({each.subset.benchmark})"] = AttackedScores.model_validate(figures)
        return found

    def _columns(self, row: ManifestRow, head: ManifestAttack, scope: Scope) -> dict[str, Estimate]:
        """Return the row's scores under the attack, by the title of the forget column."""
        scores, context = self._scopes[scope], self._context
        name = _attacked_name(row.variant, head.label)
        found: dict[str, Estimate] = {}
        for column in context.columns:
            if column.role == "forget" and column.benchmark in head.benchmarks and self._there(scores, [name]):
                quantity = scores.quantity(name, context.subsets[column.title])
                if quantity is not None and np.isfinite(quantity.value):
                    limits = limits_of(context.heads[column.benchmark])
                    found[column.title] = estimate(quantity, context.settings.level, limits=limits)
        return found


def with_worst(figures: Mapping[str, AttackFigures], level: float) -> dict[str, AttackResult]:
    """Return a row's results by attack, with the worst case at the attack that the selection half chooses."""
    results = {label: found.result for label, found in figures.items()}
    halves = {label: found.by_half for label, found in figures.items() if found.by_half}
    selection = {label: found["selection"] for label, found in halves.items()}
    worst = worst_case(selection, {label: found["reporting"] for label, found in halves.items()})
    if worst is not None:
        reported = worst.reported
        entry = WorstAttack(
            chosen_by=round(worst.chosen_by, 6),
            left=_estimate(reported.left, level),
            recovered=_estimate(reported.recovered, level),
            gone=None if reported.left is None else gone_estimate(reported.left, level),
            of=len(selection),
        )
        results[worst.attack] = results[worst.attack].model_copy(update={"worst": entry})
    return results


def hidden_by(figures: Mapping[str, AttackFigures], level: float) -> list[Hiding]:
    """Return the counted attacks that have an R, with its interval at the level that they share, largest first."""
    counted = {label: found.recovery for label, found in figures.items() if found.recovery and found.recovery.counted}
    shared = shared_level(level, len(counted))
    known = [(label, found.recovered) for label, found in counted.items() if found.recovered and found.recovered.draws.size]
    found = [Hiding(label, quantity.value, *interval(quantity, shared)) for label, quantity in known]
    return sorted(found, key=lambda hiding: -hiding.recovered)


def _attacked_name(variant: str, label: str) -> str:
    """Return the name of a row under attack among the runs; no row's name has a space."""
    return f"{variant} under {label}"


def _run(key: CellKey) -> Run:
    return Run(key.variant if key.attack is None else _attacked_name(key.variant, key.attack), key.seed)


def _only(outcomes: Outcomes, chosen: NDArray[np.bool_]) -> Outcomes:
    """Return some of the items."""
    places = np.flatnonzero(chosen)
    return replace(
        outcomes,
        ids=tuple(outcomes.ids[place] for place in places),
        parts=tuple(outcomes.parts[place] for place in places),
        scores=outcomes.scores[places],
        choices=outcomes.choices[places],
        answers=outcomes.answers[places],
        degenerate=None,
        values={},
    )


def _summed(outcomes: Outcomes) -> CellResult:
    """Return a cell with the means of these items' parts, which is all that resampling reads of one."""
    parts = {
        part: PartScore(value=float(of_part.mean(dtype=np.float64)), n=len(of_part))
        for part in dict.fromkeys(outcomes.parts)
        if len(of_part := outcomes.scores[outcomes.in_parts((part,))])
    }
    key = CellKey(variant="", benchmark="", seed=0)
    return CellResult(key=key, identity="", status="done", n=len(outcomes.ids), parts=parts)


def _quantity(scores: ResampledScores, name: str, subset: Subset) -> Quantity:
    found = scores.quantity(name, subset)
    assert found is not None
    return found


def _level(quantity: Quantity) -> Level:
    return Level(quantity.value, quantity.draws)


def _paired(before: Quantity, after: Quantity) -> tuple[Quantity, Quantity]:
    """Return both, of the same seeds, or of one seed each where a model without seeds was attacked with several."""
    if len(before.by_seed) == len(after.by_seed):
        return before, after
    first, second = (Quantity(q.value, q.draws, np.array([q.value]), q.draws[None], q.units) for q in (before, after))
    return first, second


def _estimate(quantity: Quantity | None, level: float) -> Estimate | None:
    return None if quantity is None else estimate(quantity, level, share=True)


def _chosen_trials(cells: Sequence[CellResult]) -> list[AttackTrial]:
    """Return the trial that each seed chose, once for all benchmarks."""
    facts = {cell.key.seed: cell.provenance.get("attack", {}) for cell in cells if cell.status == "done"}
    return [
        AttackTrial(seed=seed, trial=known["chosen"], at=known["at"])
        for seed, known in sorted(facts.items())
        if "chosen" in known
    ]


def _own_figures(cells: Sequence[CellResult]) -> dict[str, float]:
    """Return the mean over seeds of each figure that the attack itself tells."""
    known = [cell.provenance.get("attack", {}).get("figures", {}) for cell in cells if cell.status == "done"]
    names = dict.fromkeys(name for figures in known for name in figures)
    values = {name: [figures[name] for figures in known if name in figures] for name in names}
    return {name: round(sum(of_name) / len(of_name), 6) for name, of_name in values.items()}


def _points(cells: Sequence[CellResult]) -> dict[int, list[dict[str, Any]]]:
    """Return what trials scored, by seed; it is the same in the cells of all benchmarks."""
    done = [cell for cell in cells if cell.status == "done"]
    return {cell.key.seed: cell.provenance.get("attack", {}).get("trials", []) for cell in done}


def _before(cells: Sequence[CellResult]) -> float | None:
    """Return the score of the model before the attack, mean over seeds."""
    scores = [point["score"] for points in _points(cells).values() for point in points if point["trial"] == 0]
    known = [score for score in scores if score is not None]
    return round(sum(known) / len(known), 6) if known else None


def _curve(cells: Sequence[CellResult]) -> dict[int, float]:
    """Return the best score at each step, over trials, mean over seeds."""
    best: list[dict[int, float]] = []
    for points in _points(cells).values():
        best.append({})
        for point in points:
            if point["trial"] and point["at"] is not None and point["score"] is not None:
                best[-1][point["at"]] = max(best[-1].get(point["at"], 0.0), point["score"])
    steps = sorted({step for of_seed in best for step in of_seed})
    means = {step: [of_seed[step] for of_seed in best if step in of_seed] for step in steps}
    return {step: round(sum(values) / len(values), 6) for step, values in means.items()}
