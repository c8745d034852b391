"""The shared context of a table's rows: the subsets of figures, the base's knowledge of them, all scores; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unlearnbench.errors import unknown_name
from unlearnbench.leaderboard.comparability import align, cell_name
from unlearnbench.leaderboard.measures import with_measures
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.resampling import ResampledScores, RowShares, Run
from unlearnbench.leaderboard.shares import (
    Subset,
    columns_of,
    declared_ideal,
    forget_targets,
    is_whole,
    keep_targets,
    subset_of,
)
from unlearnbench.leaderboard.statistics import Quantity, interval, p_above
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import BenchmarkInfo, Column, TableSettings, TopicInfo
from unlearnbench.records.manifest import BASELINE, Manifest, ManifestRow, heads_of

Cells = Mapping[str, CellResult]  # by str(CellKey)
Items = Mapping[str, Outcomes]  # likewise
SUMMARY = ("score", "forget", "keep")


class TableContext:
    """One comparison's cells, with everything that its table is computed from.

    Attributes:
        columns: columns of scores, with `informative` and `ideal` filled in.
        subsets: subset that each column is the mean over, by its title.
        reference: rows that never knew what is to be forgotten.
        ideals: score of the reference, by each subset whose ideal it is.
        all_forget: targets that F could count.
        forget: targets that F counts: those where base and ideal are apart.
        keep: targets that K counts.
        resampled: scores of every run, resampled.
    """

    def __init__(self, manifest: Manifest, cells: Cells, items: Items, settings: TableSettings) -> None:
        self.manifest = manifest
        heads, self.cells, self.items = with_measures(manifest, cells, align(manifest, items))
        self.heads = {head.name: head for head in heads}
        self.base = next((row for row in manifest.rows if row.variant == BASELINE), None)
        bare = [column for head in heads for column in columns_of(head)]
        self.subsets = {column.title: subset_of(column, self.heads[column.benchmark]) for column in bare}
        self.settings = check_settings(settings, manifest)
        self.reference = self.settings.reference or []
        self.all_forget, self._all_keep = forget_targets(heads), keep_targets(heads)
        self.resampled = self._count([target.subset for target in (*self.all_forget, *self._all_keep)])
        referred = [target.subset for target in self.all_forget if target.referred] if self.reference else []
        referred += [self.subsets[column.title] for column in bare if self.reference and self._refers(column)]
        levels = {subset: self.resampled.reference(self.reference, subset) for subset in referred}
        self.ideals = {subset: level for subset, level in levels.items() if level is not None}
        self._knows = {subset: self._above_chance(subset) for subset in self.resampled.values}
        self._knows |= {subset: self._above_reference(subset) for subset in referred}
        self.columns = [self._column(column) for column in bare]
        self.forget = [target for target in self.all_forget if self._knows[target.subset]]
        self.keep = [target for target in self._all_keep if self._knows[target.subset]]

    def _count(self, targets: Sequence[Subset]) -> ResampledScores:
        rows = {row.variant: row for row in self.manifest.rows}
        runs = [Run(row.variant, seed) for row in rows.values() for seed in row.seeds]
        resampled = ResampledScores(runs, self.settings.resamples, self.settings.level, self.reference)
        for head in self.heads.values():
            names = {number: cell_name(rows[run.variant], head.name, run.seed) for number, run in enumerate(runs)}
            done = {
                n: self.cells[name] for n, name in names.items() if name in self.cells and self.cells[name].status == "done"
            }
            outcomes = {number: self.items[names[number]] for number in done if names[number] in self.items}
            wanted = (Subset(head.name, tuple(head.parts)), *self.subsets.values(), *targets)
            resampled.add(head, [subset for subset in wanted if subset.benchmark == head.name], done, outcomes)
        return resampled

    def outcomes(self, row: ManifestRow, benchmark: str) -> list[Outcomes]:
        """Return the items of a row's finished seeds."""
        names = [cell_name(row, benchmark, seed) for seed in row.seeds]
        return [self.items[name] for name in names if name in self.items]

    def shares(self, row: ManifestRow) -> RowShares | None:
        """Return a row's F, K and S; None where they are undefined."""
        if self.base is None:
            return None
        return self.resampled.shares(row.variant, BASELINE, self.forget, self.keep, self.ideals)

    def _refers(self, column: Column) -> bool:
        """Return whether the ideal of a column is the reference's score, where there is a reference."""
        return column.role == "forget" and declared_ideal(self.heads[column.benchmark].metric)[1]

    def _column(self, column: Column) -> Column:
        """Return a column with its ideal, where it is to be forgotten, and whether it is informative."""
        subset = self.subsets[column.title]
        ideal = declared_ideal(self.heads[column.benchmark].metric)[0] if column.role == "forget" else None
        if self.reference and self._refers(column):
            ideal = round(self.ideals[subset].value, 6) if subset in self.ideals else None
        return column.model_copy(update={"informative": self._knows[subset], "ideal": ideal})

    def _above_reference(self, subset: Subset) -> bool | None:
        """Return whether the base is better than the reference on a subset, one-sided at 1 - level; None where one of them is
        not scored.
        """
        if self.base is None or subset not in self.ideals:
            return None
        sign = 1.0 if self.heads[subset.benchmark].metric.better == "higher" else -1.0
        lead = self.resampled.distance(BASELINE, subset, self.ideals[subset], sign)
        if lead is None or not lead.draws.size:
            return None if lead is None else lead.value > 0  # a table in passing
        return interval(lead, 1 - 2 * (1 - self.settings.level))[0] > 0

    def _above_chance(self, subset: Subset) -> bool | None:
        """Return whether the base is above chance on a subset, one-sided at 1 - level; None where it is not scored."""
        quantity = self.resampled.quantity(BASELINE, subset) if self.base else None
        if self.base is None or quantity is None:
            return None
        head = self.heads[subset.benchmark]
        metric = head.metric
        sign = 1.0 if metric.better == "higher" else -1.0
        if is_whole(head):
            return self._beyond(quantity, sign, declared_ideal(metric)[0] if head.forget_parts else metric.chance)
        outcomes = self.outcomes(self.base, subset.benchmark)
        choice = metric.unit == "fraction" and sign > 0
        if not outcomes and not choice:
            return sign * quantity.value > sign * metric.chance  # a table in passing
        if not outcomes:
            cell = self.cells[cell_name(self.base, subset.benchmark, self.base.seeds[0])]
            n = sum(cell.parts[part].n for part in subset.parts if part in cell.parts)
            right = np.arange(n) < round(quantity.value * n)
            return p_above(right, np.arange(n), metric.chance, binary=True) < 1 - self.settings.level
        counted = outcomes[0].in_parts(subset.parts) & np.isfinite(outcomes[0].scores)
        _, units = np.unique(outcomes[0].units[counted], return_inverse=True)
        scores = sign * outcomes[0].scores[counted].astype(np.float64)
        return p_above(scores, units, sign * metric.chance, binary=choice and outcomes[0].binary) < 1 - self.settings.level

    def _beyond(self, quantity: Quantity, sign: float, number: float) -> bool:
        """True where a figure is above a number (`sign` 1) or below it (`sign` -1), one-sided at 1 - level."""
        if not quantity.draws.size:
            return sign * quantity.value > sign * number  # a table in passing
        low, high = interval(quantity, 1 - 2 * (1 - self.settings.level))
        return low > number if sign > 0 else high < number

    def knows(self, subset: Subset) -> bool | None:
        """Return whether the base is better than the ideal on a subset; None where one of them is not scored."""
        return self._knows[subset]

    def benchmarks(self) -> list[BenchmarkInfo]:
        """Return the table's entry on each benchmark."""
        infos: list[BenchmarkInfo] = []
        for name, head in self.heads.items():
            known = _any([self._knows[subset] for subset in self._knows if subset.benchmark == name])
            metric = head.metric.model_dump(exclude={"name", "note", "ideal"})
            infos.append(BenchmarkInfo(name=name, metric=head.metric.name, informative=known, measure=head.measure, **metric))
        return infos

    def topics(self) -> list[TopicInfo]:
        """Return the table's entry on each topic."""
        by_topic: dict[str, list[Subset]] = {}
        ideals: dict[str, list[float]] = {}
        for topic, subset, number, referred, _ in self.all_forget:
            by_topic.setdefault(topic, []).append(subset)
            if not self.reference or not referred:
                ideals.setdefault(topic, []).append(number)
            elif subset in self.ideals:
                ideals.setdefault(topic, []).append(round(self.ideals[subset].value, 6))
        return [
            TopicInfo(
                name=topic,
                parts=[f"{subset.benchmark}/{part}" for subset in subsets for part in subset.parts],
                ideal=ideals[topic][0] if len(subsets) == 1 and topic in ideals else None,
                informative=_any([self._knows[subset] for subset in subsets]),
            )
            for topic, subsets in by_topic.items()
        ]

    def why_unranked(self) -> str | None:
        """Return the reason why no row can be ranked, whatever its scores; None where rows can."""
        counted = [self._knows[target.subset] for target in (*self.all_forget, *self._all_keep)]
        if self.base is None or len(self.manifest.rows) < 2 or None in counted:
            return None
        if self.settings.rank_by in self.subsets:
            return None  # a column needs no other
        if not self.all_forget:
            columns = ", ".join(self.subsets)
            reason = "Nothing here measures what was to be forgotten, so nothing is ranked"
            return f"{reason}; --rank-by goes by one column alone: {columns}."
        if not self.forget:
            topics = ", ".join(topic.name for topic in self.topics())
            floor = f"significantly above the reference, {' and '.join(self.reference)}," if self.reference else "above chance"
            return f"There is nothing left to forget: the base model is not {floor} on {topics}, so nothing is ranked."
        if not self.keep and self.settings.rank_by in ("score", "keep"):
            return "Nothing here measures what was to be kept, so nothing is ranked; --rank-by forget goes by F alone."
        return None


def _any(known: Sequence[bool | None]) -> bool | None:
    return None if None in known else any(known)


def check_settings(settings: TableSettings, manifest: Manifest) -> TableSettings:
    """Return the settings with the table's own names for the figure to rank by and for the reference, by default the recipe's.

    Raises:
        UsageError: the table has no such figure or row, or the row cannot be a reference.
    """
    titles = [column.title for head in heads_of(manifest.benchmarks) for column in columns_of(head)]
    short = {"s": "score", "f": "forget", "k": "keep"}
    name = short.get(settings.rank_by.lower(), settings.rank_by)
    if name not in (*SUMMARY, *titles):
        raise unknown_name("figure in --rank-by", name, [*SUMMARY, *titles])
    reference = list(manifest.recipe.get("reference") or []) if settings.reference is None else settings.reference
    rows = [row.variant for row in manifest.rows if row.variant != BASELINE]
    for row in reference:
        if row not in rows:
            raise unknown_name("row in --reference", row, rows, "The reference is a row of the table that never knew.")
    return settings.model_copy(update={"rank_by": name, "reference": reference})
