"""The values that a method logs during training, as metrics.csv."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unlearnbench.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


METRICS = "metrics.csv"


class MetricsFile:
    """The values that a method logs, as rows of `update,name,value` in metrics.csv."""

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every
        self._last: dict[str, int] = {}  # the update whose value of a name was written last
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> MetricsFile:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._stack.enter_context((self._folder / METRICS).open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise StorageError.of(self._folder / METRICS, error) from error
        self._rows = csv.writer(self._file)
        self._rows.writerow(("update", "name", "value"))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk is told of where a row is written; to close the file tries that again
            self._stack.close()

    def write(self, update: int, logged: Mapping[str, Sequence[Tensor]]) -> None:
        """Write the rows of one update, counted from 0: the mean over the pieces of its batch.

        Each name has its own rhythm, since updates take topics, and some methods their steps, in turn.
        """
        due = [name for name in logged if name not in self._last or update - self._last[name] >= self._every]
        if not due:
            return
        means = {name: float(torch.stack(list(logged[name])).float().mean()) for name in due}
        self._last.update(dict.fromkeys(due, update))
        try:
            self._rows.writerows((update, name, f"{mean:.6g}") for name, mean in means.items())
            self._file.flush()  # whoever looks at a run that goes on sees where it is
        except OSError as error:
            raise StorageError.of(self._folder / METRICS, error) from error
