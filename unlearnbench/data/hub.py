"""The hub, and its errors as one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from unlearnbench.data.sources import Source
from unlearnbench.errors import UsageError, reason_of

T = TypeVar("T")


def from_hub(source: Source, action: Callable[[], T], kind: Literal["model", "data set"] = "data set") -> T:
    """Run `action`; an error with a hub id becomes one sentence with the next step."""
    try:
        return action()
    except _expected() as error:
        raise UsageError(_hub_problem(source, error, kind)) from error


def _expected() -> tuple[type[Exception], ...]:
    """Return the errors that the hub and `datasets` raise; imported only when something is raised."""
    from datasets.exceptions import DatasetsError

    return OSError, ValueError, DatasetsError


def _hub_problem(source: Source, error: Exception, kind: Literal["model", "data set"]) -> str:
    """Return the sentence on an error, from the whole chain of causes: `datasets` wraps the hub's errors in its own."""
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, page = source.location, f"https://huggingface.co/{'' if kind == 'model' else 'datasets/'}{source.location}"
    flags = "--model FOLDER" if kind == "model" else "--forget or --retain PATH, --set BENCHMARK.source=FOLDER"
    local = f"point to a local copy instead: {flags}"
    chain = list(causes(error))

    def any_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in chain)

    itself = isinstance(error, DatasetGenerationError) and len(chain) > 1  # it tells nothing
    reason = reason_of(chain[1] if itself else error)
    if any_of(GatedRepoError) or "gated" in reason:
        return f"The {kind} '{name}' is gated: accept its terms at {page} and log in with `hf auth login`."
    if any_of(RevisionNotFoundError):
        return f"The {kind} '{name}' has no revision '{source.revision}'; {page}/commits/main lists them."
    if any_of(OfflineModeIsEnabled, LocalEntryNotFoundError, ConnectionError):
        return f"'{name}' is no local path, and the hub cannot be reached; {local}."
    if any_of(DatasetNotFoundError, RepositoryNotFoundError):
        return (
            f"There is no {kind} '{name}' on the hub or at that path ({page}), or it is private: log in with `hf auth login`; "
            f"{local}."
        )
    if any_of(HfHubHTTPError):
        return f"The hub refused '{name}': {reason}; {local}."
    return f"'{source.text}' cannot be loaded: {reason}."


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors it was raised from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
