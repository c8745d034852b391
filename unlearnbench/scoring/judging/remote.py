"""A judge behind an API that speaks OpenAI's protocol; it runs unattended, with retries, waits and budgets."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from unlearnbench.errors import UsageError, closest
from unlearnbench.scoring.judging.api_calls import finish, retry_after, without_key
from unlearnbench.scoring.judging.judgment import (
    TRIES,
    Arrived,
    Inquiry,
    Judgment,
    Messages,
    ReplySettings,
    insist,
    no_rating,
    parse_rating,
    without_system,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Answered = TypeVar("Answered")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOSTED = "https://api.openai.com/v1"
BACKOFF, LONGEST_BACKOFF = 1.0, 60.0  # seconds, before the first retry and at most; times .5 to 1.5
LONGEST_WAIT = 600.0  # seconds that a server may ask for
CHECK_SECONDS = 20.0
NO_USE = (401, 403, 404)  # wrong key, no permission, no such model: whoever asks again hears the same
AGAIN = (408, 409, 429)  # and 5xx


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """Limits to how hard a judge's API may be asked.

    Attributes:
        concurrency: the number of requests at a time.
        retries: the number of times that a request is made again after time-outs, dropped connections, 429 and 5xx.
        timeout: seconds for one reply, from the first byte sent to the last received.
        requests: the number of requests in total; None for any number.
        tokens: the number of tokens of requests and replies in total; None for any number.
    """

    concurrency: int = 8
    retries: int = 6
    timeout: float = 120.0
    requests: int | None = None
    tokens: int | None = None


class _Unanswered(Exception):  # noqa: N818 - costs one judgment
    """A request that got no answer."""


class _Closed(_Unanswered):
    """A request that got no answer, like every further one."""


class RemoteJudge:
    """A model at an OpenAI-compatible address. The key comes from the environment and is neither kept nor shown.

    Raises:
        UsageError: the client is not installed, or there is no key for an address elsewhere.
    """

    def __init__(self, model: str, url: str | None, limits: RequestLimits, replies: ReplySettings) -> None:
        if importlib.util.find_spec("openai") is None:
            raise UsageError("The judge openai:MODEL needs the client: pip install 'unlearnbench[judge]'.")
        self.model, self.limits, self.replies = model, limits, replies
        self.url = (url or os.environ.get("OPENAI_BASE_URL") or HOSTED).rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise UsageError(f"The judge's address must begin with http:// or https://; got '{self.url}'.")
        if "@" in urlsplit(self.url).netloc or urlsplit(self.url).query or urlsplit(self.url).fragment:
            raise UsageError(
                "The judge's address must hold no user name, password or query; the key comes from the environment's "
                "OPENAI_API_KEY."
            )
        self._local = urlsplit(self.url).hostname in LOOPBACK
        if not self._local and not os.environ.get("OPENAI_API_KEY"):
            raise UsageError(
                "The judge openai:MODEL needs the environment's OPENAI_API_KEY, or --judge-url with a local server."
            )
        self.asked = self.tokens = 0
        self._closed = ""
        self._wait_until = 0.0
        self._no_system = False  # the model knows no system role
        self._options: dict[str, Any] = {"temperature": replies.temperature, "max_tokens": replies.tokens}

    @property
    def identity(self) -> Sequence[str]:
        """Return model and address; on loopback without the port, which is another one each time."""
        parts = urlsplit(self.url)
        place = str(parts.hostname) if self._local else parts.netloc
        return ("openai", self.model, place + parts.path, self.replies.identity)

    def problems(self) -> Iterable[str]:
        """Return the problems of the address, the key and the model's name, if any; rates nothing."""
        return finish(self._problems())

    async def _problems(self) -> list[str]:
        import openai

        try:
            async with asyncio.timeout(CHECK_SECONDS):
                known = await self._ask(_models)
                if not known and not await self._ask(_completes):
                    there = "" if self.url.endswith("/v1") else f" Did you mean --judge-url {self.url}/v1?"
                    return [f"There is no OpenAI-compatible judge at {self.url}: it has no /chat/completions.{there}"]
        except openai.APIStatusError as error:
            return [f"The judge at {self.url} does not take the key in OPENAI_API_KEY: {self._reason(error)}."]
        except (openai.APIConnectionError, TimeoutError) as error:
            return [f"The judge at {self.url} does not answer ({self._reason(error)}); look at --judge-url."]
        if self._local or not known or self.model in known:
            return []
        guess = closest(self.model, known)
        return [f"The judge at {self.url} has no model '{self.model}'." + (f" Did you mean '{guess}'?" if guess else "")]

    async def _ask(self, question: Callable[[AsyncOpenAI], Awaitable[Answered]]) -> Answered:
        """Ask on a connection of its own: some servers hang up after an error, as an unlisted list of models may be."""
        async with self._client() as client:
            return await question(client)

    def rate(self, inquiries: Sequence[Inquiry], arrived: Arrived) -> None:
        """Ask everything, some at a time."""
        finish(self._rate(inquiries, arrived))

    async def _rate(self, inquiries: Sequence[Inquiry], arrived: Arrived) -> None:
        slots = asyncio.Semaphore(self.limits.concurrency)

        async def ask(client: AsyncOpenAI, inquiry: Inquiry) -> None:
            arrived(inquiry, await self._judge(client, slots, inquiry))

        try:
            async with self._client() as client, asyncio.TaskGroup() as group:
                for inquiry in inquiries:
                    group.create_task(ask(client, inquiry))
        except BaseExceptionGroup as several:  # each says the same: the disk is full, or the code is wrong
            raise several.exceptions[0] from None

    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        key = os.environ.get("OPENAI_API_KEY") or "none"  # the client refuses to start without one
        return AsyncOpenAI(api_key=key, base_url=self.url, max_retries=0, timeout=self.limits.timeout)

    async def _judge(self, client: AsyncOpenAI, slots: asyncio.Semaphore, inquiry: Inquiry) -> Judgment:
        messages, reply, spent = inquiry.messages, "", 0
        for _ in range(TRIES):
            try:
                reply, tokens = await self._reply(client, slots, messages)
            except _Unanswered as error:
                return Judgment(error=str(error), text=reply, tokens=spent)
            spent += tokens
            if (rating := parse_rating(reply)) is not None:
                return Judgment(rating=rating, text=reply, tokens=spent)
            messages = insist(inquiry.messages, reply)
        return Judgment(error=no_rating(reply), text=reply, tokens=spent)

    async def _reply(self, client: AsyncOpenAI, slots: asyncio.Semaphore, messages: Messages) -> tuple[str, int]:
        """Return the judge's reply and the tokens that it took; passing errors are waited for and asked again."""
        retry = 0
        while True:
            async with slots:
                await asyncio.sleep(max(self._wait_until - time.monotonic(), 0))
                self._take_one()
                try:
                    return await self._request(client, messages)
                except Exception as error:
                    wait = self._wait_after(error, retry)
            if wait is not None:
                retry += 1
                await asyncio.sleep(wait)

    def _take_one(self) -> None:
        if self._closed:
            raise _Closed(self._closed)
        limits = self.limits
        if limits.requests is not None and self.asked >= limits.requests:
            raise _Closed(f"the budget of {limits.requests} requests is spent")
        if limits.tokens is not None and self.tokens >= limits.tokens:
            raise _Closed(f"the budget of {limits.tokens} tokens is spent")
        self.asked += 1

    async def _request(self, client: AsyncOpenAI, messages: Messages) -> tuple[str, int]:
        async with asyncio.timeout(self.limits.timeout):  # in all: a reply that drips would never time out by itself
            create: Any = client.chat.completions.create
            shown = without_system(messages) if self._no_system else messages
            reply: Any = await create(model=self.model, messages=shown, **self._options)
        choices = getattr(reply, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise ValueError("the reply holds no choices" if hasattr(reply, "choices") else "the reply is not JSON")
        text = without_key(str(choices[0].message.content or ""))
        used = getattr(getattr(reply, "usage", None), "total_tokens", None)
        tokens = used if isinstance(used, int) else sum(len(m["content"]) for m in messages) // 4 + len(text) // 4
        self.tokens += tokens
        return text, tokens

    def _wait_after(self, error: Exception, retry: int) -> float | None:
        """Return the seconds to wait before the same request again; None for at once, with other options.

        Raises:
            _Unanswered: it is not worth it; as _Closed, neither is any other request.
        """
        import openai

        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        reason = self._reason(error)
        if status in NO_USE or (status == 429 and getattr(error, "code", None) == "insufficient_quota"):
            self._closed = f"the judge refuses: {reason}"
            raise _Closed(self._closed) from None
        if status == 400 and self._other_options(reason):
            return None
        if status is not None and status not in AGAIN and status < 500:
            raise _Unanswered(f"the judge refuses: {reason}") from None
        if not isinstance(error, openai.APIError | TimeoutError | ValueError | TypeError | AttributeError):
            raise error
        if retry >= self.limits.retries:
            raise _Unanswered(f"{reason} ({retry + 1} times)") from None
        if isinstance(error, openai.APIStatusError) and (asked := retry_after(error)) is not None:
            if asked > LONGEST_WAIT:
                self._closed = f"the judge asks to wait {asked:.0f} s"
                raise _Closed(self._closed) from None
            self._wait_until = max(self._wait_until, time.monotonic() + asked)
            return asked
        return min(BACKOFF * 2**retry, LONGEST_BACKOFF) * random.uniform(0.5, 1.5)

    def _other_options(self, reason: str) -> bool:
        """Change the options for a model that takes no temperature, calls the limit by another name, or knows no system
        role.
        """
        if "temperature" in reason and "temperature" in self._options:
            del self._options["temperature"]
        elif "max_tokens" in reason and "max_tokens" in self._options:
            self._options["max_completion_tokens"] = self._options.pop("max_tokens")
        elif "system" in reason.lower() and "role" in reason.lower() and not self._no_system:
            self._no_system = True
        else:
            return False
        return True

    def _reason(self, error: Exception) -> str:
        """Return the error in a few words, without the key that some servers repeat."""
        words = without_key(" ".join(str(error).split()))[:200]
        if isinstance(error, TimeoutError):
            words = f"no whole reply within {self.limits.timeout:g} s"
        elif isinstance(error, json.JSONDecodeError):
            words = "the reply is not JSON"
        return words.rstrip(".")


async def _models(client: AsyncOpenAI) -> list[str]:
    """Return the models that the address lists; none where it has no list, as some servers."""
    import openai

    try:
        return [model.id for model in (await client.models.list()).data]
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise
    except openai.APIConnectionError:
        raise
    except Exception:  # an answer of another shape
        return []
    return []


async def _completes(client: AsyncOpenAI) -> bool:
    """Return whether there are chat completions at the address; asked with an empty request, which every server refuses."""
    import openai

    try:
        reply: Any = await client.post("/chat/completions", cast_to=object, body={})
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise
        return error.status_code not in (404, 405, 501)
    except ValueError:  # it says JSON and is none
        return False
    return not isinstance(reply, str)
