"""What every record stands on: the frozen base class, and the words and values that records share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["forget", "retain"]
Half = Literal["selection", "reporting"]  # of a benchmark's items: what settings are chosen on, what they are reported on


class Record(BaseModel):
    """Frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Value = None | bool | int | float | str | list[Any] | dict[str, Any]
Options = dict[str, Value]
