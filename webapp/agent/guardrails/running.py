"""Runs checks: fails closed, gives the run's context to those that ask for it, keeps the deadline.

A check is somebody's own code, which may raise, give what is no verdict, or not come back. None of
this lets a text pass.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, get_type_hints

from webapp.agent.guardrails.bounded import RunCalledOff, within
from webapp.agent.guardrails.protocols import Guardrail, Replace
from webapp.agent.run_context import RunContext
from webapp.agent.tool_arguments import is_context
from webapp.agent.tools import LeftRunning
from webapp.errors import GuardrailFailed, GuardrailRefused, ModelTimeout
from webapp.storable import storable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one guardrail. `for_context` are the parameters that the run's context fills.

    `quick` says that it always comes back soon, as those do that come with Switchboard, so that it
    needs no thread of its own. An asynchronous check runs on the process's event loop.
    """

    name: str
    function: Callable[..., Any]
    for_context: tuple[str, ...] = ()
    quick: bool = False
    left_running: LeftRunning = field(default_factory=LeftRunning, compare=False, repr=False)

    @classmethod
    def of(cls, guardrail: Guardrail, function: Callable[..., Any]) -> Check:
        quick = getattr(guardrail, "always_quick", False) is True
        return cls(guardrail.name, function, _context_names(function), quick)

    def run(self, text: str, context: RunContext) -> str:
        """The text that passes. Raises `GuardrailRefused` or `GuardrailFailed`, `ModelTimeout` and
        `RunCalledOff`."""
        try:
            verdict = self._verdict(text, context)
        except TimeoutError:
            told = {"guardrail": self.name, "request_id": context.request_id}
            _log.warning("guardrail was not done in time: %s", self.name, extra=told)
            raise ModelTimeout(
                "The turn did not come to its end in time.", server_failed=False
            ) from None
        if verdict is None:
            return text
        if isinstance(verdict, Replace) and isinstance(verdict.text, str):
            return storable(verdict.text)
        if isinstance(verdict, str):
            raise GuardrailRefused(
                storable(verdict.strip()) or "This was refused.", guardrail=self.name
            )
        _log.warning(
            "guardrail failed: %s gave %s, neither None nor a sentence nor Replace(…)",
            self.name,
            type(verdict).__name__,
            extra={"guardrail": self.name, "request_id": context.request_id},
        )
        raise GuardrailFailed(guardrail=self.name)

    def _verdict(self, text: str, context: RunContext) -> object:
        def call() -> object:
            given = self.function(text, **dict.fromkeys(self.for_context, context))
            return _awaited(given, context) if inspect.isawaitable(given) else given

        waits = not self.quick and not (context.deadline is None and context.cancel is None)
        outcome = within(call, context, self.left_running) if waits else _outcome(call)
        if not isinstance(outcome, BaseException):
            return outcome
        if isinstance(outcome, GuardrailRefused):
            return outcome.message
        if context.cancelled and _was_called_off(outcome):
            raise RunCalledOff
        if not isinstance(outcome, Exception | SystemExit):
            raise outcome
        self._log_failure(outcome, context)
        raise GuardrailFailed(guardrail=self.name) from outcome

    def _log_failure(self, fault: BaseException, context: RunContext) -> None:
        """Logs the guardrail, the exception's type and line; not its text, which may quote a
        user."""
        trace = fault.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = ""
        if trace is not None:
            file = PurePath(trace.tb_frame.f_code.co_filename).name
            place = f" in {file}, line {trace.tb_lineno}"
        _log.warning(
            "guardrail failed: %s raised %s%s",
            self.name,
            type(fault).__name__,
            place,
            extra={
                "guardrail": self.name,
                "exception": type(fault).__name__,
                "request_id": context.request_id,
            },
        )


def checked(checks: Sequence[Check], text: str, context: RunContext) -> str:
    """What is left of the text after all of them."""
    for check in checks:
        text = check.run(text, context)
    return text


def _awaited(given: Awaitable[object], context: RunContext) -> object:
    # Imported here because asyncio takes its time, and few need it.
    from webapp.agent.event_loop import for_coroutines

    async def begin() -> object:
        return await given

    def over() -> bool:
        return context.cancelled or (context.deadline is not None and context.deadline.passed)

    return for_coroutines().run(begin, over)


def _was_called_off(outcome: BaseException) -> bool:
    from webapp.agent.event_loop import CalledOff

    return isinstance(outcome, CalledOff)


def _outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever somebody's own code raises
        return error


def _context_names(check: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(check).parameters
    except (TypeError, ValueError):
        return ()  # what says nothing of its parameters is given the text alone
    try:
        hints = get_type_hints(check)
    except (NameError, TypeError):
        # Another parameter's type is known to a type checker alone.
        hints = {n: RunContext for n, p in parameters.items() if p.annotation == "RunContext"}
    return tuple(name for name in parameters if is_context(hints.get(name)))
