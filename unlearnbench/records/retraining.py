"""The record beside a model that was retrained without the forget texts: how it was made, and what that cost."""

from __future__ import annotations

from typing import Any, Literal

from unlearnbench.records.base import Record
from unlearnbench.records.cells import Cost

RETRAINING_FILE = "unlearnbench.json"


class RetainCorpus(Record):
    """A corpus that a model was retrained on.

    Attributes:
        source: source as it may be published: of a local file its name.
        rows: number of its texts.
        digest: sha256 of its rows.
        revision: commit of a hub data set; None for local files.
    """

    source: str
    rows: int
    digest: str
    revision: str | None = None


class Retraining(Record):
    """The retraining of a model, and its cost.

    Attributes:
        model: source of the untaught model, as it may be published.
        corpora: retain corpora, in the order in which they were joined.
        recipe: all that may change the weights, by name.
        identity: hash of the recipe.
        weights: hash of the weights' files beside the record.
        cost: cost of the training; its tokens are those of the retain texts.
        environment: device and versions of the libraries; recorded, not hashed.
        written: time at which the model was written, ISO 8601.
    """

    schema_version: Literal[1] = 1
    model: str
    corpora: list[RetainCorpus]
    recipe: dict[str, Any]
    identity: str
    weights: str
    cost: Cost
    environment: dict[str, Any]
    written: str
