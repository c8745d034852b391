"""The search: rounds of trials, each trial a job and a row of a comparison of its own in `<run>/tuning`.

That trials are jobs makes them durable, resumable and as isolated as any job. Their figures are those of the half of the
questions that chooses. An interrupted search proposes the same trials again and finds their cells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.board import Leaderboard
from unlearnbench.compare import execute, read_leaderboard
from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.executors import Limits
from unlearnbench.files import content_hash
from unlearnbench.models import block_count, model_folder
from unlearnbench.plugins import find_plugin
from unlearnbench.preflight import Comparison, Device, prepare
from unlearnbench.recipe import BASELINE, Recipe
from unlearnbench.records import CellResult
from unlearnbench.spaces import ShareOf, read_domain, written
from unlearnbench.specs import Options, resolve_options, resolve_space
from unlearnbench.trials import TRIALS, TUNING, RowTrials, Trial, TrialStatus, Tuning, searched
from unlearnbench.tuning.sampler import Flat, Sampler, check_installed, first_settings

if TYPE_CHECKING:
    from unlearnbench.job import Reporter

ROUND = 2  # trials that a row proposes at a time, however many run at a time: results do not depend on --jobs
TUNED = "tuned.yaml"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What every row of a search gets.

    Attributes:
        trials: at most so many; None means that only time counts.
        seconds: of unlearning and scoring; a row that has used them up proposes no more. None means that only trials count.
    """

    trials: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.seconds is None:
            raise UsageError("A search needs a budget, the same for every method: --trials N, --tune-seconds S, or both.")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where and how the trials of a comparison run."""

    out: Path  # of the comparison
    cache: Path
    device: Device = "auto"
    executor: str = "local"
    limits: Limits = Limits()

    @property
    def folder(self) -> Path:
        """Of the search."""
        return self.out / TUNING


@dataclass
class _Row:
    """A row and its search so far."""

    name: str
    method: str
    given: Options
    space: dict[str, Flat]
    first: dict[str, Any]
    sampler: Sampler | None = None
    trials: list[Trial] = field(default_factory=list[Trial])
    refused: dict[int, str] = field(default_factory=dict[int, str])  # trials that preflight would not let run

    def variant(self, number: int) -> str:
        return f"{self.name}.trial-{number}"

    def settings(self, number: int) -> dict[str, Any]:
        return self.first if self.sampler is None else self.sampler.propose(number)


def tune(recipe: Recipe, budget: Budget, place: Place, reporter: Reporter) -> Iterator[CellResult]:
    """Search settings for every row of a recipe, yielding each cell once it is durable; see `trials.read_tuning`.

    Raises:
        UsageError: anything in the recipe cannot be done, or nothing in it can tell trials apart.
    """
    check_installed()
    rows = plan_rows(recipe)
    state = _Search(recipe, budget, place, rows)
    state.begin()
    while numbers := state.next_round():
        yield from state.run(numbers, reporter)
    state.write()


def plan_rows(recipe: Recipe) -> list[_Row]:
    """The rows of a recipe with what is searched for each of them.

    Raises:
        UsageError: a space that does not fit the method's signature, or of a row that there is not.
    """
    for name in recipe.tune.spaces:
        if name not in recipe.methods:
            raise unknown_name("row in tune.spaces", name, recipe.methods)
    rows: list[_Row] = []
    for name, (method, given) in recipe.variants().items():
        if name == BASELINE:
            continue
        spec = find_plugin("method", method).method
        changes = {
            option: None if value is None else read_domain(value) for option, value in recipe.tune.spaces.get(name, {}).items()
        }
        space = resolve_space(spec, changes, given, name)
        options = resolve_options(spec, given, name)
        flat = {option: _flat(domain, recipe, options) for option, domain in space.items()}
        first = first_settings(flat, resolve_options(spec, {n: v for n, v in given.items() if n not in space}, name))
        rows.append(_Row(name, spec.name, given, flat, first))
    return rows


def _flat(domain: Any, recipe: Recipe, options: Options) -> Flat:
    """Shares as the whole numbers that they are for this model and budget."""
    if not isinstance(domain, ShareOf):
        return domain
    if domain.whole == "blocks":
        return domain.of(block_count(model_folder(recipe.model)))
    steps = options.get("steps")
    if not isinstance(steps, int):
        raise UsageError("A space in shares of the steps needs a method with a budget.")
    return domain.of(steps)


class _Search:
    """Everything a search knows while it goes on."""

    def __init__(self, recipe: Recipe, budget: Budget, place: Place, rows: Sequence[_Row]) -> None:
        self._recipe, self._budget, self._place, self._rows = recipe, budget, place, rows
        self._known = _known_trials(place.folder)
        self._split: dict[str, dict[str, int]] = {}

    def begin(self) -> None:
        """Check everything with the first trial of each row, and give each row its sampler; nothing is computed."""
        searching = [row for row in self._rows if row.space]
        if not searching:
            raise UsageError(
                f"Nothing can be tuned: {', '.join(row.name for row in self._rows) or 'no row'} has no search space; give one "
                "in the recipe under tune.spaces."
            )
        comparison = self._prepare({row.name: [1] for row in searching})
        of = {plan.job.variant: plan for plan in comparison.jobs}
        tune = self._recipe.tune
        base = sorted(of[BASELINE].cells.values())
        for row in searching:
            space = {option: written(domain) for option, domain in row.space.items()}
            name = content_hash([row.name, of[row.variant(1)].job.identity, base, space, tune.seed, tune.keep_at_least])[:16]
            row.sampler = Sampler(
                self._place.folder, name, row.space, row.first, seed=tune.seed, keep_at_least=tune.keep_at_least
            )

    def next_round(self) -> dict[str, list[int]]:
        """By row, the numbers of the trials that are next."""
        numbers: dict[str, list[int]] = {}
        for row in self._rows:
            done, seconds = len(row.trials), sum(trial.seconds for trial in row.trials)
            last = done + ROUND if self._budget.trials is None else min(done + ROUND, self._budget.trials)
            spent = self._budget.seconds is not None and seconds >= self._budget.seconds
            if row.space and not spent and last > done:
                numbers[row.name] = list(range(done + 1, last + 1))
        return numbers

    def run(self, numbers: Mapping[str, Sequence[int]], reporter: Reporter) -> Iterator[CellResult]:
        """One round."""
        place = self._place
        comparison = self._prepare_round(numbers)
        yield from execute(
            comparison,
            reporter,
            executor=place.executor,
            limits=place.limits,
            keep_deltas="none",
            in_passing=True,
        )
        board = read_leaderboard(place.folder, in_passing=True)
        self._split = _split_of(board)
        for row in self._rows:
            for number in numbers.get(row.name, ()):
                trial = self._trial(row, number, comparison, board)
                row.trials.append(trial)
                assert row.sampler is not None
                row.sampler.tell(trial)
        self.write()

    def write(self) -> None:
        """trials.json as far as the search has come."""
        budget, tune = self._budget, self._recipe.tune
        rows = [
            searched(
                row.name,
                row.method,
                {option: written(domain) for option, domain in row.space.items()},
                row.trials,
                (budget.trials, budget.seconds, tune.keep_at_least),
            )
            for row in self._rows
        ]
        tuning = Tuning(
            schema=1,  # pyright: ignore[reportCallIssue]
            trials=budget.trials,
            seconds=budget.seconds,
            keep_at_least=tune.keep_at_least,
            seed=tune.seed,
            split=self._split,
            rows=rows,
        )
        run = self._run
        run.write_text(TRIALS, tuning.model_dump_json(indent=1, by_alias=True) + "\n")
        run.write_text(TUNED, tuned_recipe(self._recipe, tuning).to_yaml())

    def _prepare_round(self, numbers: Mapping[str, Sequence[int]]) -> Comparison:
        """All trials so far and those of the round; settings that cannot go together are a failed trial."""
        try:
            return self._prepare(numbers)
        except UsageError:
            for row in self._rows:
                for number in numbers.get(row.name, ()):
                    try:
                        self._prepare({row.name: [number]}, alone=True)
                    except UsageError as error:
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
                "checkpoints": {},
                "controls": {},
                "seeds": self._recipe.seeds[:1],
                "half": "selection",
                "tuned": {},
            }
        )
        comparison = prepare(recipe, out=place.folder, cache=place.cache, device=place.device, keep_deltas="none")
        self._run = comparison.run
        return comparison

    def _trial(self, row: _Row, number: int, comparison: Comparison, board: Leaderboard) -> Trial:
        """What became of a trial."""
        settings = row.settings(number)
        if number in row.refused:
            return Trial(number=number, settings=settings, status="failed", error=row.refused[number])
        plan = next(plan for plan in comparison.jobs if plan.job.variant == row.variant(number))
        cells = [cell for name in plan.cells if (cell := comparison.run.read_cell(plan.key(name), plan.cells[name]))]
        own = next(one for one in board.rows if one.variant == row.variant(number))
        bad = next((cell for cell in cells if cell.status != "done"), None)
        if bad is not None:
            status: TrialStatus = "pruned" if "pruned" in bad.provenance else bad.status  # pyright: ignore[reportAssignmentType]
            known = self._known.get(_key(row.name, number, settings))
            seconds = known.seconds if known else _seconds(cells)
            return Trial(number=number, settings=settings, status=status, error=bad.error, seconds=seconds)
        summary = own.summary
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
        )


def _seconds(cells: Sequence[CellResult]) -> float:
    """Of unlearning, once, and of scoring; scores from the cache count what they took when they were new."""
    unlearning = max((cell.cost.unlearn_seconds or 0.0 for cell in cells), default=0.0)
    return round(unlearning + sum(cell.cost.evaluate_seconds or 0.0 for cell in cells), 3)


def _split_of(board: Leaderboard) -> dict[str, dict[str, int]]:
    base = next(row for row in board.rows if row.variant == BASELINE)
    return {name: {part: one.n or 0 for part, one in score.parts.items()} for name, score in base.scores.items()}


def _key(row: str, number: int, settings: Mapping[str, Any]) -> str:
    return json.dumps([row, number, settings], sort_keys=True)


def _known_trials(folder: Path) -> dict[str, Trial]:
    """The trials that an earlier run of the search recorded."""
    try:
        tuning = Tuning.model_validate_json((folder / TRIALS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {_key(row.row, trial.number, trial.settings): trial for row in tuning.rows for trial in row.trials}


def tuned_recipe(recipe: Recipe, tuning: Tuning) -> Recipe:
    """The comparison with the chosen settings, on the half of the questions that chose nothing."""
    found: dict[str, RowTrials] = {row.row: row for row in tuning.rows}
    methods = {name: {**options, **(found[name].settings if name in found else {})} for name, options in recipe.methods.items()}
    labels = {name: row.label for name, row in found.items()}
    return recipe.model_copy(update={"methods": methods, "half": "reporting", "tuned": labels})
