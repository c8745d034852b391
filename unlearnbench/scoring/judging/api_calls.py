"""Helpers for calls of a judge's API: an event loop, waiting times, and keeping the key out of messages."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

SHORTEST_KEY = 8  # characters; what is shorter is a stand-in such as `none`, and a word like others


def without_key(text: str) -> str:
    """Return a text of the server's with stars for the key, which some servers repeat."""
    key = os.environ.get("OPENAI_API_KEY", "")
    return text.replace(key, "***") if len(key) >= SHORTEST_KEY else text


def retry_after(error: Any) -> float | None:
    """Return the seconds that the server asks to wait, as a number or a date; None where it does not say."""
    headers = error.response.headers
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(float(milliseconds) / 1000, 0.0)
        if (text := headers.get("retry-after")) is None:
            return None
        try:
            return max(float(text), 0.0)
        except ValueError:
            return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end; in a separate thread where this one has an event loop already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]
