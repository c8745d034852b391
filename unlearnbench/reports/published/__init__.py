"""Published rows, to show below a table: facts with their source, one file for each publication."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import yaml

from unlearnbench.errors import unknown_name
from unlearnbench.records.base import Record


class PublishedRow(Record):
    """One model of a publication.

    Attributes:
        name: name of base model and method.
        scores: scores by BENCHMARK or BENCHMARK/PART; accuracies as fractions.
    """

    name: str
    scores: dict[str, float]


class Publication(Record):
    """A publication's table.

    Attributes:
        title: short title, as notes cite it.
        source: place of its numbers: table or page of the publication.
        note: differences from scores computed here.
    """

    title: str
    source: str
    note: str
    rows: list[PublishedRow]

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns that it has scores of, as BENCHMARK or BENCHMARK/PART."""
        return frozenset(key for row in self.rows for key in row.scores)


def publications() -> list[str]:
    """Return the names of the publications there are."""
    return sorted(Path(entry.name).stem for entry in resources.files(__name__).iterdir() if entry.name.endswith(".yaml"))


def load_publication(name: str) -> Publication:
    """Return a publication's table by its name.

    Raises:
        UsageError: there is none of the name.
    """
    if name not in publications():
        raise unknown_name("value of --published", name, publications())
    content = yaml.safe_load((resources.files(__name__) / f"{name}.yaml").read_text(encoding="utf-8"))
    return Publication.model_validate(content)
