"""Explains mistakes that come from the habits of other agent libraries; makes no rules.

CPython's own words for these mistakes are riddles: an agent is a frozen dataclass with slots, and
the assignment of `agent.user_id` speaks of `super()` and types.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

from webapp.agent.other_libraries import ARGUMENTS, METHODS, PARTS

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_USERS = frozenset({"user", "user_id", "userid", "session", "session_id"})
_NO_USER = (
    "An agent has no user of its own, because all users share it: pass user_id= to run, as in"
    ' agent.run("…", user_id="alice").'
)
_TOOLS = 'Tools are given to an agent as toolkits=[Toolkit("name", [function, …])].'
# What stands in front of a call.
_AWAITED = {"arun": "await "}


def asks_for_its_user(method: Callable[P, R]) -> Callable[P, R]:
    """Answers a call of `run` or `stream` without `user_id=` with how to write it."""

    def check(args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        name = method.__name__
        if "user_id" not in kwargs or len(args) > 2:
            raise TypeError(
                f"pass user_id= to {name}, by its name:"
                f' {_AWAITED.get(name, "")}agent.{name}("…", user_id="alice")'
            )
        if "stream" in kwargs:
            pieces = "astream" if name in _AWAITED else "stream"
            raise TypeError(
                f'{name} gives the whole answer; for pieces: agent.{pieces}("…", user_id="alice")'
            )
        for given in kwargs.keys() & ARGUMENTS.keys():
            raise TypeError(f"{name} has no argument '{given}': {ARGUMENTS[given]}.")

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
            check(args, kwargs)
            return await method(*args, **kwargs)

        return cast("Callable[P, R]", awaited)

    @functools.wraps(method)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check(args, kwargs)
        return method(*args, **kwargs)

    return checked


def explained(cls: type[T]) -> type[T]:
    """Answers wrong parts, assignments and deletions of an agent with what to do instead."""
    make: Callable[..., None] = cls.__init__

    @functools.wraps(make)
    def init(self: T, *args: Any, **parts: Any) -> None:
        if args:
            raise TypeError('An agent\'s parts are given by name: Agent(name="…", model=…).')
        if parts.keys() & _USERS:
            raise TypeError(_NO_USER)
        if parts.keys() & {"tools", "functions"}:
            raise TypeError(_TOOLS)
        for name in parts.keys() & PARTS.keys():
            raise TypeError(f"An agent has no part '{name}': {PARTS[name]}.")
        make(self, **parts)

    def refuse(_self: T, name: str, _value: object = None) -> NoReturn:
        raise FrozenInstanceError(_no_change(cls, name))

    def missing(_self: T, name: str) -> NoReturn:
        raise AttributeError(
            _NO_USER if name in _USERS else no_attribute(cls.__name__, name, METHODS)
        )

    for name, function in (
        ("__init__", init),
        ("__setattr__", refuse),
        ("__delattr__", refuse),
        ("__getattr__", missing),
    ):
        setattr(cls, name, function)
    return cls


def no_attribute(kind: str, name: str, known: Mapping[str, str]) -> str:
    """CPython's own words, and what to write instead where that is known."""
    hint = f"; {known[name]}" if name in known else ""
    return f"'{kind}' object has no attribute '{name}'{hint}"


def _no_change(cls: type, name: str) -> str:
    if name in _USERS:
        return _NO_USER
    if name in {each.name for each in fields(cls) if each.init}:
        return (
            "An agent never changes, because threads share it:"
            f" dataclasses.replace(agent, {name}=…) makes another."
        )
    return f"An agent has no attribute '{name}', and never changes, because threads share it."
