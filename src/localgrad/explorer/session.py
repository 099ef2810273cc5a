"""One page's conversation with the server: the newest request wins, never a queue.

A page asks in JSON, `{"kind": …, "id": …, "state": {…}, "rest": …}`, and is answered in frames (`frames.py`) whose
header repeats kind and id. Each kind has one place for a request: a newer one takes it, and what is being computed for
the older is given up at its next pause. What goes wrong comes back as one sentence in `error`, never as a traceback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from localgrad.checks import in_words
from localgrad.explorer.frames import pack
from localgrad.explorer.state import State, read_state
from localgrad.explorer.views import mode_space
from localgrad.explorer.views.landscape import landscape
from localgrad.explorer.views.network import network
from localgrad.explorer.views.paths import paths
from localgrad.explorer.views.rates import rates

View = Callable[[State, bool], Iterator[Any]]
KINDS: dict[str, View] = {
    "basin": mode_space.basin,
    "landscape": landscape,
    "paths": paths,
    "rates": rates,
    "network": network,
}
"""What may be asked for: a generator of `(header, arrays)`, or `None` where it may be given up."""

_END: Any = object()
LONGEST_REQUEST = 8192  # characters


@dataclass(frozen=True)
class Request:
    """What a page asks for; `number` is its own, and comes back with the answer."""

    kind: str
    number: int
    state: State
    rest: bool


class RefusedError(ValueError):
    """A request that cannot be served, with what is known of its kind and number."""

    def __init__(self, why: str, kind: str | None = None, number: int | None = None):
        super().__init__(why)
        self.kind, self.number = kind, number


def read_request(text: Any) -> Request:
    """A request from a message; `RefusedError` in one sentence for what is none."""
    if not isinstance(text, str) or len(text) > LONGEST_REQUEST:
        raise RefusedError(f"a request is text of at most {LONGEST_REQUEST} characters")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedError("the request is not JSON") from None
    if not isinstance(message, dict):
        raise RefusedError("the request is not an object with kind, id and state")
    kind, number, rest = message.get("kind"), message.get("id"), message.get("rest", False)
    if not isinstance(kind, str) or kind not in KINDS:
        raise RefusedError(f"the request's kind is {in_words(kind)}; known: {', '.join(KINDS)}")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**53:
        raise RefusedError("the request's id must be a whole number of at least 0", kind)
    if not isinstance(rest, bool):
        raise RefusedError("the request's rest must be true or false", kind, number)
    try:
        return Request(kind, number, read_state(message.get("state")), rest)
    except ValueError as error:
        raise RefusedError(str(error), kind, number) from None


def sentence(error: BaseException) -> str:
    """What a page may know of an error: our own sentences, and of others only that they happened."""
    if isinstance(error, ValueError) and "\n" not in str(error) and len(str(error)) < 400:
        return str(error)
    return f"this could not be computed ({type(error).__name__}); it is a bug, please report it with the page's link"


class Session:
    """A page's requests, one place for each kind, and the tasks that serve them."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], pool: ThreadPoolExecutor):
        self._send, self._pool = send, pool
        self._waiting: dict[str, Request] = {}
        self._wake = {kind: asyncio.Event() for kind in KINDS}
        self._tasks = [asyncio.create_task(self._serve(kind)) for kind in KINDS]

    async def take(self, text: Any) -> None:
        """Take a message; what cannot be served is answered at once."""
        try:
            request = read_request(text)
        except RefusedError as refused:
            await self._answer({"kind": refused.kind, "id": refused.number, "error": sentence(refused)})
            return
        self._waiting[request.kind] = request
        self._wake[request.kind].set()

    async def close(self) -> None:
        """Give up all that is being computed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, kind: str) -> None:
        while True:
            await self._wake[kind].wait()
            self._wake[kind].clear()
            request = self._waiting.pop(kind)
            about = {"kind": kind, "id": request.number}
            try:
                await self._compute(request, about)
            except Exception as error:
                await self._answer(about | {"error": sentence(error)})

    async def _compute(self, request: Request, about: dict[str, Any]) -> None:
        """Send what the view yields until it ends, or a newer request has come."""
        loop = asyncio.get_running_loop()
        parts = KINDS[request.kind](request.state, request.rest)
        while True:
            part = await loop.run_in_executor(self._pool, next, parts, _END)
            if part is _END or request.kind in self._waiting:
                return
            if part is not None:
                header, arrays = part
                await self._send(await loop.run_in_executor(self._pool, pack, about | header, arrays))

    async def _answer(self, header: dict[str, Any]) -> None:
        await self._send(pack(header))
