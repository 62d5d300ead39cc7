"""A door: what the addresses below one prefix have in common, as one value. Routes are not here.

`webapp/web/routes.py` names the doors there are. Middleware and error handlers ask the request's
door and never look at the path themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from flask import Flask, Response

from webapp.chat.values import ChatEvent
from webapp.errors import SwitchboardError

EXTENSION = "switchboard-doors"


class EventWriter(Protocol):
    """Writes the events of a streamed turn as bytes for the client."""

    def event(self, item: ChatEvent) -> bytes:
        """One event of the turn; nothing for one that the client is not told of."""
        ...

    def error(self, error: SwitchboardError, request_id: str) -> bytes:
        """The last event of a turn that failed after the head of its answer was sent."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Door:
    """One door; the one with the empty prefix holds what no other holds.

    `find_caller` notes in the request's context who asks, and refuses nobody. `write_error` gives
    the answer to a failure, `events` writes a streamed turn. `headers` are set on every answer
    that does not have them yet.
    `cross_origin` says whether pages of the origins in CORS_ORIGINS may call it, `documented`
    whether its routes stand in the OpenAPI document.
    """

    name: str
    prefix: str
    find_caller: Callable[[], None]
    write_error: Callable[[SwitchboardError], Response]
    events: EventWriter
    headers: Mapping[str, str]
    cross_origin: bool
    documented: bool


@dataclass(frozen=True, slots=True)
class Doors:
    """All doors of an application, in the order in which a path is held against them."""

    all: tuple[Door, ...]
    _by_start: dict[str, Door] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Every prefix is one segment, so the first one of a path tells its door.
        object.__setattr__(self, "_by_start", {door.prefix: door for door in reversed(self.all)})

    def of(self, path: str) -> Door:
        """The door that holds the path; the last one holds everything."""
        end = path.find("/", 1)
        return self._by_start.get(path if end < 0 else path[:end], self.all[-1])


def doors_of(app: Flask) -> Doors:
    """The doors of an application."""
    doors: Doors = app.extensions[EXTENSION]
    return doors


def nobody() -> None:
    """Finds no caller: for a door where it does not matter who asks."""
