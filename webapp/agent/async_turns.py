"""Turns for programs with an event loop: the same turn, played by a thread of its own.

The loop is never blocked: a turn waits in its user's line without a thread, and all that it reads,
asks and stores is done in its thread, one event at a time as the program asks for them. Only
asyncio is known here; anyio on asyncio is asyncio.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, Final

from webapp.agent.event_loop import lend_loop
from webapp.agent.events import Event, Finished, RunOutput
from webapp.agent.thread_starter import ThreadStarter
from webapp.turns import Cancellation, LocalTurnQueue, TurnQueue
from webapp.turns.awaited import AwaitedPlace, PlaceInThread
from webapp.turns.seats import SEAT, THREADS, Seats, lent

CANCEL_POLL_SECONDS = 0.05
# For turns in queues that have no seats of their own.
_SEATS: Final = Seats(THREADS)
_STARTER: Final = ThreadStarter()
# What makes the events of a turn, when it is given its queue and its cancellation.
Begin = Callable[[TurnQueue, Cancellation], Generator[Event, None, None]]
# Tasks whose cancellation came when their turn was being stored. They were given its outcome; their
# next turn is cancelled, unless whoever cancelled them has taken that back.
_came_late: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()


async def run(
    begin: Begin, line: TurnQueue, user_id: str, cancel: Cancellation | None
) -> RunOutput:
    """The whole turn; see `Agent.arun`."""
    events = stream(begin, line, user_id, cancel)
    try:
        async for event in events:
            if isinstance(event, Finished):
                output = event.output
    finally:
        await events.aclose()
    return output


async def stream(
    begin: Begin, line: TurnQueue, user_id: str, cancel: Cancellation | None
) -> AsyncGenerator[Event, None]:
    """The turn's events; see `Agent.astream`."""
    _require_wanted(_task())
    # A turn inside of another one: that one waits for it, without its seat.
    with lent():
        turn = _Turn(begin, line, user_id, cancel)
        try:
            await turn.comes()
            while (event := await turn.next()) is not None:
                yield event
        finally:
            turn.close()


class _CallOff:
    """Set when the program wants the turn no more, or its own cancellation is."""

    __slots__ = ("_is_set", "own")

    def __init__(self, own: Cancellation | None) -> None:
        self.own = own
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set or (self.own is not None and self.own.is_set())


class _Turn:
    """One turn; its thread begins when the place has come, and knows nothing of this object: a
    stream that nobody holds any more is closed by the collector."""

    def __init__(
        self, begin: Begin, line: TurnQueue, user_id: str, cancel: Cancellation | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._call_off = _CallOff(cancel)
        self._wishes: queue.SimpleQueue[asyncio.Future[_Outcome] | None] = queue.SimpleQueue()
        self._has_thread = False
        self._is_closed = False
        self._has_come = self._loop.create_future()
        self._place = _placed(line, user_id, self._loop, self._has_come)
        self._events = begin(self._place, self._call_off)

    async def comes(self) -> None:
        """Waits for the place, and starts the thread."""
        poll = None if self._call_off.own is None else CANCEL_POLL_SECONDS
        while not self._has_come.done():
            await asyncio.wait((self._has_come,), timeout=poll)
            if self._call_off.is_set():
                self._place.give_up()  # the thread sees at once that there is nothing to do
                break
        context = copy_context()
        context.run(SEAT.set, self._place.seat)
        context.run(lend_loop, self._loop)
        parts = (self._events, self._wishes, self._place, self._loop)
        _STARTER.start(partial(context.run, _work, *parts), partial(_not_started, *parts))
        self._has_thread = True

    async def next(self) -> Event | None:
        """The next event, None after the last; raises what the turn raises.

        A cancellation ends the turn, unless it is being stored: then it comes too late.
        """
        wish: asyncio.Future[_Outcome] = self._loop.create_future()
        self._wishes.put(wish)
        while not wish.done():
            try:
                await asyncio.wait((wish,))
            except asyncio.CancelledError:
                if self._place.give_up():
                    raise
                _came_late.add(_task())
        event, error = wish.result()
        if error is not None:
            try:
                raise error
            finally:
                del error  # it knows this frame, and would keep all that the turn held
        return event

    def close(self) -> None:
        """Ends the turn, wherever it is; it may be called again, and in any thread."""
        if self._is_closed:
            return
        self._is_closed = True
        self._place.give_up()
        self._call_off.set()
        if self._has_thread:
            self._wishes.put(None)
        else:
            self._place.leave()

    def __del__(self) -> None:
        # Where the loop is closed before the generator was, nobody else calls this.
        if hasattr(self, "_place"):
            self.close()


_Outcome = tuple[Event | None, BaseException | None]


def _work(
    events: Generator[Event, None, None],
    wishes: queue.SimpleQueue[asyncio.Future[_Outcome] | None],
    place: AwaitedPlace,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The thread: one event for each wish."""
    try:
        while (wish := wishes.get()) is not None:
            outcome: _Outcome
            try:
                outcome = (next(events, None), None)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                outcome = (None, error)
            if not _tell(loop, wish, outcome):
                return
            del wish, outcome
    finally:
        try:
            events.close()
        finally:
            place.leave()


def _not_started(
    events: Generator[Event, None, None],
    wishes: queue.SimpleQueue[asyncio.Future[_Outcome] | None],
    place: AwaitedPlace,
    loop: asyncio.AbstractEventLoop,
    error: RuntimeError,
) -> None:
    """What the thread would do, when the system gives none: the first wish is told so."""

    events.close()
    while (wish := wishes.get()) is not None:
        _tell(loop, wish, (None, error))
    place.leave()


def _tell(
    loop: asyncio.AbstractEventLoop, wish: asyncio.Future[_Outcome], outcome: _Outcome
) -> bool:
    """Hands the outcome to the loop; False when that is closed."""
    try:
        loop.call_soon_threadsafe(_settle, wish, outcome)
    except RuntimeError:
        return False
    return True


def _settle(wish: asyncio.Future[_Outcome], outcome: _Outcome) -> None:
    # The failure is no exception of the future: of one that is not awaited any more asyncio warns.
    if not wish.done():
        wish.set_result(outcome)


def _placed(
    line: TurnQueue, user_id: str, loop: asyncio.AbstractEventLoop, has_come: asyncio.Future[None]
) -> AwaitedPlace:
    """The turn's place in line; `has_come` is done when its thread may start."""

    def come() -> None:
        try:
            loop.call_soon_threadsafe(_come, has_come)
        except RuntimeError:
            # The loop was closed while its turn waited. Not here: this may hold the line's lock.
            threading.Thread(target=leave, daemon=True).start()

    def leave() -> None:
        place.leave()

    place: AwaitedPlace
    if isinstance(line, LocalTurnQueue):
        place = line.line_up(user_id, come)
    else:
        place = PlaceInThread(line, _SEATS, come)
    return place


def _come(has_come: asyncio.Future[None]) -> None:
    if not has_come.done():
        has_come.set_result(None)


def _task() -> asyncio.Task[Any]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        raise RuntimeError("arun and astream need a running event loop of asyncio.")
    return task


def _require_wanted(task: asyncio.Task[Any]) -> None:
    """Cancels a task whose cancellation came too late for its last turn."""
    if task in _came_late:
        _came_late.discard(task)
        if task.cancelling():
            raise asyncio.CancelledError
