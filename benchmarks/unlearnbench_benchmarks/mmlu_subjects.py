"""MMLU's subjects in the layouts in which they are published: a config for each, one table of all, Hendrycks' CSV files.

Source: cais/mmlu, whose config `all` names each question's subject; hendrycks/test, whose `data.tar` has the folders `dev`,
    `val` and `test` with one file per subject, without a header.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from unlearnbench.api import Table, UsageError, list_configs, parse_source, read_table

Split = Literal["test", "dev"]
COLUMNS = ("question", "choices", "answer")
ALL, NOT_SUBJECTS = "all", ("all", "auxiliary_train")
UNNAMED = "default"  # the config of a folder that has its files directly in it
OPTIONS = ("A", "B", "C", "D")


class Subjects(Protocol):
    """A source of MMLU."""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of all its subjects."""
        ...

    def read(self, subject: str, split: Split) -> Table:
        """Return the questions of one subject, with the columns question, choices and answer."""
        ...


def find_subjects(source: str) -> Subjects:
    """Find the subjects of a source, whichever layout it has.

    Raises:
        UsageError: it has none of them.
    """
    path = parse_source(source).path
    if path is not None and any(path.glob("test/*_test.csv")):
        return HendrycksFiles(path)
    configs = list_configs(source)
    if named := [config for config in configs if config not in (*NOT_SUBJECTS, UNNAMED)]:
        return Configs(source, named)
    if not configs:
        raise UsageError(
            f"'{source}' is a single file; mmlu needs a data set with a config for each subject, or with the config `all`, or "
            "Hendrycks' folders `dev` and `test`. For questions in one file there is the benchmark mcq."
        )
    return OneTable(f"{source}:{ALL}" if ALL in configs else source)


class Configs:
    """A config for each subject."""

    def __init__(self, source: str, names: Sequence[str]) -> None:
        self.source, self.names = source, names

    def read(self, subject: str, split: Split) -> Table:
        """Return the split of a config."""
        return read_table(f"{self.source}:{subject}", default_split=split, columns=COLUMNS)


class OneTable:
    """One table for all subjects, which are named in its column `subject`."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tables: dict[Split, Table] = {}

    def _table(self, split: Split) -> Table:
        if split not in self._tables:
            self._tables[split] = read_table(self._source, default_split=split, columns=(*COLUMNS, "subject"))
        return self._tables[split]

    @property
    def names(self) -> Sequence[str]:
        """Return the names in the order of the table."""
        table = self._table("test")
        return list(dict.fromkeys(table.label(index, "subject") for index in range(len(table.rows))))

    def read(self, subject: str, split: Split) -> Table:
        """Return the rows of a split that belong to the subject."""
        table = self._table(split)
        indices = [index for index in range(len(table.rows)) if table.label(index, "subject") == subject]
        places = [table.where(index) for index in indices]
        return replace(table, rows=[table.rows[index] for index in indices], where=places.__getitem__)


class HendrycksFiles:
    """A csv file for each subject and split: question, four options and the letter of the right one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = sorted(file.name.removesuffix("_test.csv") for file in folder.glob("test/*_test.csv"))

    def read(self, subject: str, split: Split) -> Table:
        """Return the rows of a file."""
        table = read_table(str(self._folder / split / f"{subject}_{split}.csv"), header=("question", *OPTIONS, "answer"))
        return replace(table, rows=[{**row, "choices": [row[option] for option in OPTIONS]} for row in table.rows])
