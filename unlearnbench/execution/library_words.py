"""Warnings of libraries while a comparison runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager

LIBRARIES = ("py.warnings", "transformers", "huggingface_hub", "datasets", "torch", "peft", "accelerate")


class _Handler(logging.Handler):
    """A handler that passes each message on, on one line."""

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._report(f"{record.name}: {' '.join(record.getMessage().split())}")
        except Exception:  # a message that cannot be put together is no reason to stop
            self.handleError(record)


@contextmanager
def overheard(report: Callable[[str], None]) -> Generator[None]:
    """Pass the warnings of libraries to `report` in the block, instead of to standard error."""
    handler = _Handler(report)
    before = [(logger, logger.handlers, logger.propagate) for logger in map(logging.getLogger, LIBRARIES)]
    logging.captureWarnings(True)
    for logger, _, _ in before:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
