"""The base of every record: the frozen base class, and the words and values that records share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["forget", "retain"]
"""The type of what a benchmark measures: knowledge to forget or to retain."""
Half = Literal["selection", "reporting"]
"""The type of a half of a benchmark's items: the one that settings are chosen on, or the one that they are reported on."""


class Record(BaseModel):
    """A frozen model that is strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def unfit_numbers(given: Any, found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    """Yield the numbers that pydantic made of values that nobody means as numbers, and why: `true` is no rate of 1, and nothing
    is infinite.

    Args:
        given: value that was validated.
        found: value that it became.
        path: path of both, from the outermost value.
    """
    if isinstance(found, float) and not math.isfinite(found):
        yield path, "a number must be finite", given
    elif isinstance(given, bool):
        if isinstance(found, int | float) and not isinstance(found, bool):
            yield path, "a truth value is no number", given
    elif isinstance(given, Mapping) and isinstance(found, Mapping):
        for key in (key for key in given if key in found):
            yield from unfit_numbers(given[key], found[key], (*path, key))
    elif isinstance(given, list) and isinstance(found, list):
        for place, (before, made) in enumerate(zip(given, found, strict=False)):
            yield from unfit_numbers(before, made, (*path, place))


def without_empty(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a record without these entries where they are empty: a comparison without them is written as it always was."""
    return {name: value for name, value in record.items() if value or name not in names}


Value = None | bool | int | float | str | list[Any] | dict[str, Any]
"""The type of an option as YAML and JSON have it."""
Options = dict[str, Value]
"""The type of options and settings, by name."""
