"""The event loop on which asynchronous tools run: one for the process, in a thread of its own.

It is one because clients, locks and queues of asyncio belong to the loop that first used them, and
a tool's module keeps such things from call to call. All greenlets of a gevent worker share one
native thread, for which Python keeps one running loop; see `aside`.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

Result = TypeVar("Result")

CANCEL_POLL_SECONDS = 0.05


class LoopBlocked(RuntimeError):
    """Waiting here would stop the loop that is waited for."""


class CalledOff(Exception):
    """What ran on the loop was cancelled, because nobody waits for it any more."""


class EventLoop:
    """An event loop that other threads hand coroutines to; it starts with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._thread = 0

    @property
    def is_here(self) -> bool:
        """Whether the code that asks runs on the loop."""
        return self._process == os.getpid() and self._thread == threading.get_ident()

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop itself, at work. A process that was forked has a loop of its own."""
        with self._lock:
            if self._loop is None or self._process != os.getpid():
                self._loop = _new_loop()
                self._process = os.getpid()
                started = threading.Event()
                threading.Thread(
                    target=self._work, args=(self._loop, started), name="event loop", daemon=True
                ).start()
                started.wait()
            return self._loop

    def run(
        self,
        begin: Callable[[], Coroutine[Any, Any, Result]],
        cancelled: Callable[[], bool] | None = None,
    ) -> Result:
        """Runs the coroutine that `begin` makes, and waits for it; the thread's context goes along.

        Once `cancelled` says so, the coroutine is cancelled and `CalledOff` raised. Raises
        `LoopBlocked` on the loop itself.
        """
        if self.is_here:
            raise LoopBlocked("This code runs on the event loop and must not wait for it.")
        future = self.submit(begin)
        try:
            return _awaited(future, cancelled)
        except CancelledError:
            raise CalledOff from None
        finally:
            future.cancel()  # does nothing to one that is done

    def submit(self, begin: Callable[[], Coroutine[Any, Any, Result]]) -> Future[Result]:
        """The coroutine's outcome to come; cancelling it cancels the coroutine."""
        loop = self.running()
        context = copy_context()
        outcome: Future[Result] = Future()
        tasks: list[asyncio.Task[Result]] = []

        def start() -> None:
            if not outcome.cancelled():
                task = loop.create_task(_without_exit(begin), context=context)
                task.add_done_callback(lambda done: _hand_over(done, outcome))
                tasks.append(task)

        def stop(given: Future[Result]) -> None:
            if given.cancelled():
                loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

        outcome.add_done_callback(stop)
        loop.call_soon_threadsafe(start)
        return outcome

    def _work(self, loop: asyncio.AbstractEventLoop, started: threading.Event) -> None:
        self._thread = threading.get_ident()
        asyncio.set_event_loop(loop)
        started.set()
        loop.run_forever()


@contextmanager
def aside() -> Iterator[None]:
    """For code of the loop that lets other greenlets run: meanwhile no loop is running.

    All greenlets of a gevent worker share one native thread, and Python keeps one running loop for
    each of those: what else runs there could otherwise have none of its own, by `asyncio.run` say.
    """
    own = asyncio._get_running_loop()
    asyncio._set_running_loop(_others.loop)
    try:
        yield
    finally:
        _others.loop = asyncio._get_running_loop()
        asyncio._set_running_loop(own)


class _Others:
    """The loop of other code of this thread that stands still while ours runs."""

    loop: asyncio.AbstractEventLoop | None = None


_others = _Others()


def let_several_run() -> None:
    """For a process whose threads are greenlets: tools there may use `asyncio.run`, at the same
    time too."""
    asyncio.set_event_loop_policy(_Policy())


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _new_loop()


def _new_loop() -> asyncio.AbstractEventLoop:
    """One that does not count as running while it waits."""
    loop = asyncio.SelectorEventLoop(_Selector())
    loop.set_default_executor(_Executor())
    return loop


class _Executor(ThreadPoolExecutor):
    """Of the loop. Starting a thread lets other greenlets run."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with aside():
            return super().submit(fn, *args, **kwargs)


class _Selector(selectors.DefaultSelector):
    """In which the loop waits, and lets the others run."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        with aside():
            return super().select(timeout)


def _awaited(future: Future[Result], cancelled: Callable[[], bool] | None) -> Result:
    while True:
        try:
            return future.result(None if cancelled is None else CANCEL_POLL_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()  # the coroutine's own, unless it was done just now
            if cancelled is not None and cancelled():
                raise CalledOff from None


async def _without_exit(begin: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """What would end the program ends the coroutine alone, and not the loop."""
    try:
        return await begin()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError("The coroutine tried to end the program.") from error


def _hand_over(task: asyncio.Task[Result], outcome: Future[Result]) -> None:
    error = None if task.cancelled() else task.exception()
    if task.cancelled():
        outcome.cancel()
    elif outcome.set_running_or_notify_cancel():
        if error is None:
            outcome.set_result(task.result())
        else:
            outcome.set_exception(error)


SHARED = EventLoop()


class BorrowedLoop(EventLoop):
    """The loop of a program that awaits the turn; for coroutines of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._process = os.getpid()
        self._thread = threading.get_ident()

    @property
    def is_usable(self) -> bool:
        """Whether the loop is still there."""
        return self._process == os.getpid() and self.running().is_running()


_callers: ContextVar[BorrowedLoop | None] = ContextVar("switchboard_loop", default=None)


def lend_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Tools that are run in this context run on this loop; called on the loop itself."""
    _callers.set(BorrowedLoop(loop))


def for_coroutines() -> EventLoop:
    """The loop on which an asynchronous tool or guardrail runs: that of the program that awaits the
    turn, because the tool's clients may belong to it, and else the process's own."""
    callers = _callers.get()
    return callers if callers is not None and callers.is_usable else SHARED
