"""The rows of a search: the options that are searched for each of them, for this model and this budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.models.folders import model_folder
from unlearnbench.models.loading import block_count
from unlearnbench.plugins.options import resolve_options, resolve_space
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.base import Options
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.recipe import Recipe
from unlearnbench.records.search_space import Domain, ShareOf, read_domain, written
from unlearnbench.records.tuning import Trial
from unlearnbench.tuning.sampler import Flat, Sampler, first_settings


@dataclass
class SearchedRow:
    """A row and its search so far.

    Attributes:
        name: name of the row.
        method: plugin of the method.
        given: options of the row, of which those in the space are replaced.
        space: domain of each option that is searched, for this model and budget.
        first: settings of the first trial.
        search: hash of all that the trials depend on.
        sampler: source of the other settings; None before anything is known of the data.
        trials: finished trials.
        refused: reasons why trials could not run at all, by number.
    """

    name: str
    method: str
    given: Options
    space: dict[str, Flat]
    first: dict[str, Any]
    search: str = ""
    sampler: Sampler | None = None
    trials: list[Trial] = field(default_factory=list[Trial])
    refused: dict[int, str] = field(default_factory=dict[int, str])

    def variant(self, number: int) -> str:
        """Return the name of a trial's row in the search's own comparison."""
        return f"{self.name}.trial-{number}"

    def written(self) -> dict[str, Any]:
        """Return its space as a recipe would write it."""
        return {option: written(domain) for option, domain in self.space.items()}

    def add(self, trial: Trial) -> None:
        """Add the next trial, which is finished."""
        assert self.sampler is not None
        self.trials.append(trial)
        self.sampler.tell(trial)

    def settings(self, number: int) -> dict[str, Any]:
        """Return the settings of a trial."""
        return self.first if self.sampler is None else self.sampler.propose(number)


def plan_rows(recipe: Recipe) -> list[SearchedRow]:
    """Return the rows of a recipe with the options that are searched for each of them.

    Raises:
        UsageError: a space that does not fit the method's signature, or of a row that there is not.
    """
    for name in recipe.tune.spaces:
        if name not in recipe.methods:
            raise unknown_name("row in tune.spaces", name, recipe.methods)
    rows: list[SearchedRow] = []
    for name, (method, given) in recipe.variants().items():
        if name == BASELINE:
            continue
        spec = find_plugin("method", method).spec
        changes = {
            option: None if value is None else read_domain(value) for option, value in recipe.tune.spaces.get(name, {}).items()
        }
        space = resolve_space(spec, changes, given, name)
        options = resolve_options(spec, given, name)
        flat = {option: _flat(domain, recipe, options) for option, domain in space.items()}
        first = first_settings(flat, resolve_options(spec, {n: v for n, v in given.items() if n not in space}, name))
        rows.append(SearchedRow(name, spec.name, given, flat, first))
    return rows


def _flat(domain: Domain, recipe: Recipe, options: Options) -> Flat:
    """Turn shares into the whole numbers that they are for this model and budget."""
    if not isinstance(domain, ShareOf):
        return domain
    if domain.whole == "blocks":
        return domain.of(block_count(model_folder(recipe.model)))
    steps = options.get("steps")
    if not isinstance(steps, int):
        raise UsageError("A space in shares of the steps needs a method with a budget.")
    return domain.of(steps)
