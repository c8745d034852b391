"""The measures of a benchmark: checks that its items allow them, and their figures in one cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from unlearnbench.records.cells import OF_REFERENCE, SCORE, Measure, MeasureScore, PartScore
from unlearnbench.records.items import ItemResult
from unlearnbench.scoring.reductions import auc, harmonic


def faults(measures: Sequence[Measure], parts: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each reason why a benchmark with these parts cannot have these measures."""
    names = [measure.name for measure in measures]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield f"Two measures are called '{name}'; give each a name of its own."
    for measure in measures:
        needed = [*(measure.parts or parts), *measure.against]
        if unknown := [part for part in needed if part not in parts]:
            yield f"The measure '{measure.name}' speaks of a part '{unknown[0]}'; the benchmark's parts are {', '.join(parts)}."
        if len(measure.values) > 1 and measure.reduction != "harmonic":
            yield f"The measure '{measure.name}' is reduced by '{measure.reduction}', which takes one value; name one in `of`."
        wants = measure.reduction in ("auc", "relative-auc")
        if wants != bool(measure.against):
            needs = "needs the parts of the non-members" if wants else "knows no non-members"
            yield f"The measure '{measure.name}' is reduced by '{measure.reduction}', which {needs}: see `against`."
        if wants and (measure.parts is None or set(measure.parts) & set(measure.against)):
            yield f"The measure '{measure.name}' needs `parts`, those of the members, and none of them in `against`."


def value_of(item: ItemResult, name: str) -> float:
    """Return a value of an item that a measure is computed from; NaN where the item has none."""
    return item.score if name == SCORE else item.values.get(name, float("nan"))


def measure_score(measure: Measure, parts: Sequence[str], items: Sequence[ItemResult]) -> MeasureScore | None:
    """Return a measure's figure in one cell; None where no item, or no non-member that it needs, has the value.

    Args:
        measure: measure of the benchmark.
        parts: parts of the benchmark.
        items: items of the cell.
    """
    if len(measure.values) > 1:
        return _over_values(measure, parts, items)
    found: dict[str, list[float]] = {part: [] for part in [*(measure.parts or parts), *measure.against]}
    for item in items:
        if item.part in found and np.isfinite(value := value_of(item, measure.value)):
            found[item.part].append(value)
    found = {part: values for part, values in found.items() if values}
    scores = {part: PartScore(value=round(float(np.mean(values)), 6), n=len(values)) for part, values in found.items()}
    members = [value for part, values in found.items() if part not in measure.against for value in values]
    others = [value for part in measure.against for value in found.get(part, [])]
    if not members or (measure.against and not others):
        return None
    value: float | None = None
    if measure.reduction == "mean":
        value = float(np.mean(members))
    elif measure.reduction == "harmonic":
        value = float(harmonic([np.array(np.mean(values)) for values in found.values()]))
    elif measure.reduction == "auc":
        ones = np.ones((len(members), 1)), np.ones((len(others), 1))
        value = float(auc(np.array(members), np.array(others), *ones)[0])
    assert (value is None) == (measure.reduction in OF_REFERENCE)
    return MeasureScore(value=None if value is None else round(value, 6), n=len(members) + len(others), parts=scores)


def _over_values(measure: Measure, parts: Sequence[str], items: Sequence[ItemResult]) -> MeasureScore | None:
    """Return the harmonic mean over several values in each part; None where a part has none of a value."""
    alone = [
        measure_score(measure.model_copy(update={"of": value, "parts": [part]}), parts, items)
        for part in measure.parts or parts
        for value in measure.values
    ]
    known = [score for score in alone if score is not None and score.value is not None]
    if len(known) < len(alone):
        return None
    value = float(harmonic([np.array(score.value) for score in known]))
    return MeasureScore(value=round(value, 6), n=sum(score.n for score in known[:: len(measure.values)]))
