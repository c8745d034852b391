"""The search: rounds of trials, each trial a job and a row of a comparison of its own in `<run>/tuning`.

That trials are jobs makes them durable, resumable and as isolated as any job. Their figures are those of the half of the
questions that chooses. An interrupted search proposes the same trials again and finds their cells.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError
from unlearnbench.execution.compare import execute
from unlearnbench.execution.place import Place
from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.planning.comparison import Comparison
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.request import Request
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Leaderboard
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.recipe import Recipe
from unlearnbench.records.tuning import RowTrials, Trial, TrialStatus, Tuning
from unlearnbench.runs.folder import MEMORY
from unlearnbench.runs.reading import TRIALS, TUNING, read_tuning
from unlearnbench.system.files import content_hash
from unlearnbench.tuning.choice import NO_SPACE, choose, floor, label_of
from unlearnbench.tuning.sampler import Sampler, check_installed
from unlearnbench.tuning.searched_rows import SearchedRow, plan_rows

if TYPE_CHECKING:
    from unlearnbench.execution.reporter import Reporter

ROUND = 2  # trials that a row proposes at a time, however many run at a time: results do not depend on --jobs
MOST_TRIALS = 1000  # where only time counts: trials that fail at once take none
TUNED = "tuned.yaml"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The limits of every row of a search.

    Attributes:
        trials: largest number of trials; None means that only time counts.
        seconds: seconds of unlearning and scoring; a row that has used them up proposes no more. None means that only trials
            count.

    Raises:
        UsageError: there is neither, or one of them is nothing.
    """

    trials: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.seconds is None:
            raise UsageError("tune needs a budget, the same for every method: --trials N, --tune-seconds S, or both.")
        if self.trials is not None and self.trials < 1:
            raise UsageError(f"--trials takes a whole number of at least 1; got {self.trials}.")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"--tune-seconds takes a number of seconds above 0; got {self.seconds:g}.")

    def __str__(self) -> str:
        trials = "trials" if self.trials is None else f"{self.trials} trial{'s' * (self.trials != 1)}"
        return trials if self.seconds is None else f"{trials} in at most {self.seconds:g} s"


def tune(recipe: Recipe, budget: Budget, place: Place, reporter: Reporter) -> Generator[CellResult]:
    """Search settings for every row of a recipe, yielding each cell once it is durable; see `read_tuning`.

    Args:
        recipe: recipe whose rows are tuned.
        budget: limits of every row.
        place: place of the comparison; the search has a folder in its folder.
        reporter: reporter of the progress.

    Raises:
        UsageError: anything in the recipe cannot be done, or nothing in it can tell trials apart.
    """
    check_installed()
    rows = plan_rows(recipe)
    state = _Search(recipe, budget, place, rows)
    state.begin()
    while numbers := state.next_round():
        comparison = state.prepare_round(numbers)
        yield from state.run(numbers, comparison, reporter)
    state.write()
    shutil.rmtree(place.out / TUNING / MEMORY, ignore_errors=True)


class _Search:
    """The state of a search."""

    def __init__(self, recipe: Recipe, budget: Budget, place: Place, rows: Sequence[SearchedRow]) -> None:
        self._recipe, self._budget, self._place, self._rows = recipe, budget, place, rows
        self._folder = place.out / TUNING
        self._known = read_tuning(place.out)
        self._split: dict[str, dict[str, int]] = {}
        self._seen = list(recipe.reference) if recipe.tune.reference else []

    def begin(self) -> None:
        """Check everything with the first trial of each row, and give each row its sampler; nothing is computed."""
        searching = [row for row in self._rows if row.space]
        if not searching:
            if not self._rows:
                raise UsageError(
                    "Nothing can be tuned: there is no row of a method; name one, as in `unlearnbench tune rmu --trials 8`."
                )
            raise UsageError(
                f"Nothing can be tuned: {', '.join(row.name for row in self._rows)} has no search space; give one in the "
                "recipe under tune.spaces."
            )
        self._check_reference()
        comparison = self._prepare({row.name: [1] for row in searching})
        of = {plan.job.variant: plan for plan in comparison.jobs}
        tune = self._recipe.tune
        fixed = (BASELINE, *self._seen)
        base = [identity for variant in fixed for identity in sorted(of[variant].cells.values())]
        for row in searching:
            identity = of[row.variant(1)].job.identity
            name = content_hash([row.name, identity, base, row.written(), tune.seed, tune.keep_at_least])[:16]
            row.search = name
            seed = int(content_hash([tune.seed, row.name])[:8], 16)  # not of the name, in which the plugin's code is
            row.sampler = Sampler(self._folder, name, row.space, row.first, seed=seed, keep_at_least=tune.keep_at_least)
            self._adopt(row)

    def _check_reference(self) -> None:
        """Refuse a search that is to see a reference that is not at hand while it runs."""
        if not self._recipe.tune.reference:
            return
        if not self._seen:
            raise UsageError(
                "tune.reference reads the trials against the comparison's reference, and the recipe names none; give one "
                "(reference: NAME, with checkpoints: {NAME: FOLDER}), or leave tune.reference out."
            )
        rows = [name for name in self._seen if name not in self._recipe.checkpoints]
        if rows:
            raise UsageError(
                f"tune.reference needs finished models as reference, and {', '.join(rows)} is a row that is trained; name one "
                "of checkpoints, or leave tune.reference out."
            )

    def _adopt(self, row: SearchedRow) -> None:
        """Take the trials that an earlier run of the same search finished, as far as the budget goes."""
        known = next((tuned for tuned in self._known.rows if tuned.row == row.name), None) if self._known else None
        if self._known is None or known is None or known.search != row.search:
            return
        self._split = self._known.split
        for trial in known.trials:
            if self._left(row) <= 0 or row.settings(trial.number) != trial.settings:
                return
            if trial.status == "failed" and not trial.seconds and trial.error:
                row.refused[trial.number] = trial.error
            row.add(trial)

    def _left(self, row: SearchedRow) -> int:
        """Return the number of trials a row may still have, at most a round."""
        spent = self._budget.seconds is not None and sum(trial.seconds for trial in row.trials) >= self._budget.seconds
        if not row.space or (spent and len(row.trials) % ROUND == 0):  # a round that was begun is finished
            return 0
        return min(ROUND, (self._budget.trials or MOST_TRIALS) - len(row.trials))

    def next_round(self) -> dict[str, list[int]]:
        """Return, by row, the numbers of the trials that are next."""
        numbers: dict[str, list[int]] = {}
        for row in self._rows:
            if (left := self._left(row)) > 0:
                numbers[row.name] = [len(row.trials) + number for number in range(1, left + 1)]
        return numbers

    def run(self, numbers: Mapping[str, Sequence[int]], comparison: Comparison, reporter: Reporter) -> Iterator[CellResult]:
        """Run one round."""
        how = replace(self._place.how, keep_deltas="none", retry_failed=False, join=False)
        yield from execute(comparison, reporter, how, in_passing=True)
        board = read_leaderboard(self._folder, in_passing=True)
        self._split = _split_of(board)
        for row in self._rows:
            for number in numbers.get(row.name, ()):
                row.add(self._trial(row, number, comparison, board))
        self.write()

    def write(self) -> None:
        """Write trials.json as far as the search has come."""
        budget, tune = self._budget, self._recipe.tune
        tuning = Tuning(
            schema=1,  # pyright: ignore[reportCallIssue]
            trials=budget.trials,
            seconds=budget.seconds,
            keep_at_least=tune.keep_at_least,
            seed=tune.seed,
            split=self._split,
            rows=[self._searched(row) for row in self._rows],
        )
        run = self._run
        run.write_text(TRIALS, tuning.model_dump_json(indent=1, by_alias=True) + "\n")
        run.write_text(TUNED, tuned_recipe(self._recipe, tuning).to_yaml())

    def _searched(self, row: SearchedRow) -> RowTrials:
        """Return a row's search with its choice."""
        least = self._recipe.tune.keep_at_least
        best = choose(row.trials, least)
        return RowTrials(
            row=row.name,
            method=row.method,
            label=label_of(row.trials, self._budget.seconds, best, least, saw=self._seen) if row.space else NO_SPACE,
            chosen=best.number if best else None,
            met=best is not None and best.met(least),
            settings=best.settings if best else {},
            space=row.written(),
            search=row.search,
            trials=row.trials,
        )

    def prepare_round(self, numbers: Mapping[str, Sequence[int]]) -> Comparison:
        """Prepare all trials so far and those of the round; settings that cannot go together are a failed trial."""
        try:
            return self._prepare(numbers)
        except UsageError:
            for row in self._rows:
                for number in numbers.get(row.name, ()):
                    try:
                        self._prepare({row.name: [number]}, alone=True)
                    except UsageError as error:
                        self._prepare({row.name: [1]}, alone=True)  # where this no longer runs either, no setting is to blame
                        row.refused[number] = str(error)
            return self._prepare(numbers)

    def _prepare(self, numbers: Mapping[str, Sequence[int]], *, alone: bool = False) -> Comparison:
        place = self._place
        methods: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            earlier = [] if alone else [trial.number for trial in row.trials]
            for number in (*earlier, *numbers.get(row.name, ())):
                if number not in row.refused:
                    methods[row.variant(number)] = {**row.given, **row.settings(number), "method": row.method}
        recipe = self._recipe.model_copy(
            update={
                "name": f"{self._recipe.name}-tuning",
                "methods": methods,
                "checkpoints": {name: self._recipe.checkpoints[name] for name in self._seen},
                "reference": self._seen,
                "controls": {},
                "seeds": self._recipe.seeds[:1],
                "half": "selection",
                "attacks": {},  # what is chosen on is not attacked
                "floors": self._floors(numbers),
                "tuned": {},
            }
        )
        request = Request(recipe=recipe, out=self._folder, cache=place.cache, device=place.device, keep_deltas="none")
        comparison = prepare(request)
        self._run = comparison.run
        return comparison

    def _floors(self, numbers: Mapping[str, Sequence[int]]) -> dict[str, dict[int, float]]:
        """Return, by trial of the round and update, the S of a look below which it is given up."""
        floors: dict[str, dict[int, float]] = {}
        for row in self._rows:
            updates = sorted({look.update for trial in row.trials for look in trial.looks if look.update})
            limits = {update: limit for update in updates if (limit := floor(row.trials, update)) is not None}
            if limits:
                floors |= {row.variant(number): limits for number in numbers.get(row.name, ())}
        return floors

    def _trial(self, row: SearchedRow, number: int, comparison: Comparison, board: Leaderboard) -> Trial:
        """Return a trial with its result."""
        settings = row.settings(number)
        if number in row.refused:
            return Trial(number=number, settings=settings, status="failed", error=row.refused[number])
        plan = next(plan for plan in comparison.jobs if plan.job.variant == row.variant(number))
        cells = [cell for name in plan.cells if (cell := comparison.run.read_cell(plan.key(name), plan.cells[name]))]
        board_row = next(candidate for candidate in board.rows if candidate.variant == row.variant(number))
        bad = next((cell for cell in cells if cell.status != "done"), None)
        if bad is not None:
            status: TrialStatus = "pruned" if "pruned" in bad.provenance else bad.status  # pyright: ignore[reportAssignmentType]
            return Trial(
                number=number,
                settings=settings,
                status=status,
                error=bad.error,
                seconds=_seconds(cells),
                looks=bad.provenance.get("looks", []),
            )
        summary = board_row.summary
        if summary is None or summary.score.value is None:
            raise UsageError(board.unranked or "Nothing tells trials apart: something must be forgotten and something kept.")
        return Trial(
            number=number,
            settings=settings,
            status="done",
            forget=summary.forget.value,
            keep=summary.keep.value,
            score=summary.score.value,
            seconds=_seconds(cells),
            looks=cells[0].provenance.get("looks", []),
        )


def _seconds(cells: Sequence[CellResult]) -> float:
    """Return the seconds of unlearning, once, and of scoring; scores from the cache count what they took when they were new."""
    unlearning = max(((cell.cost.unlearn_seconds or 0.0) + (cell.cost.look_seconds or 0.0) for cell in cells), default=0.0)
    return round(unlearning + sum(cell.cost.evaluate_seconds or 0.0 for cell in cells), 3)


def _split_of(board: Leaderboard) -> dict[str, dict[str, int]]:
    base = next(row for row in board.rows if row.variant == BASELINE)
    return {name: {part: part_score.n or 0 for part, part_score in score.parts.items()} for name, score in base.scores.items()}


def untuned_recipe(recipe: Recipe) -> Recipe:
    """Return the comparison with every row's first settings, on the half of the questions that is not used to choose."""
    first = {row.name: row.first for row in plan_rows(recipe)}
    return _with_settings(recipe, first)


def tuned_recipe(recipe: Recipe, tuning: Tuning) -> Recipe:
    """Return the comparison with the chosen settings, on the half of the questions that was not used to choose."""
    changed = _with_settings(recipe, {row.row: row.settings for row in tuning.rows})
    return changed.model_copy(update={"tuned": {row.row: row.label for row in tuning.rows}})


def _with_settings(recipe: Recipe, settings: Mapping[str, Mapping[str, Any]]) -> Recipe:
    methods = {name: {**options, **settings.get(name, {})} for name, options in recipe.methods.items()}
    return recipe.model_copy(update={"methods": methods, "half": "reporting"})
