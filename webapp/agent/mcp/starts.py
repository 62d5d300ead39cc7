"""How many servers are started at once, so that they do not take all of the processor."""

from __future__ import annotations

import asyncio
from typing import Self

from webapp.agent.mcp import bounds


class Start:
    """A place among those that are started at once; whoever takes long gives it up, because its
    work is done by then, and a server that hangs must not keep others from being started."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._has_place = False

    async def __aenter__(self) -> Self:
        await self._places.acquire()
        self._has_place = True
        self._timer = asyncio.get_running_loop().call_later(bounds.START_SECONDS, self.is_over)
        return self

    def is_over(self) -> None:
        if self._has_place:
            self._has_place = False
            self._places.release()

    async def __aexit__(self, *_failure: object) -> None:
        self._timer.cancel()
        self.is_over()


def starts() -> asyncio.Semaphore:
    """How many servers are started at once, on the loop that runs."""
    loop = asyncio.get_running_loop()
    for known, semaphore in _STARTS:
        if known is loop:
            return semaphore
    _STARTS[:] = [(loop, asyncio.Semaphore(bounds.STARTS_AT_ONCE))]
    return _STARTS[0][1]


_STARTS: list[tuple[asyncio.AbstractEventLoop, asyncio.Semaphore]] = []
