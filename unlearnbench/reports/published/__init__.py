"""Rows that others published, to stand below a table: facts with their source, one file for each publication."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml

from unlearnbench.errors import unknown_name
from unlearnbench.records.base import Record


class PublishedRow(Record):
    """One model of a publication.

    Attributes:
        name: base model and method.
        scores: by BENCHMARK or BENCHMARK/PART; accuracies as fractions.
    """

    name: str
    scores: dict[str, float]


class Publication(Record):
    """A publication's table.

    Attributes:
        title: short, as notes cite it.
        source: where its numbers stand.
        note: what makes them different from one's own.
    """

    title: str
    source: str
    note: str
    rows: list[PublishedRow]

    @property
    def columns(self) -> frozenset[str]:
        """What it has scores of, as BENCHMARK or BENCHMARK/PART."""
        return frozenset(key for row in self.rows for key in row.scores)


def publications() -> list[str]:
    """The names of the publications there are."""
    return sorted(Path(entry.name).stem for entry in resources.files(__name__).iterdir() if entry.name.endswith(".yaml"))


def load_publication(name: str) -> Publication:
    """A publication's table by its name.

    Raises:
        UsageError: there is none of the name.
    """
    if name not in publications():
        raise unknown_name("value of --published", name, publications())
    content = yaml.safe_load((resources.files(__name__) / f"{name}.yaml").read_text(encoding="utf-8"))
    return Publication.model_validate(content)
