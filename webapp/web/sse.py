"""Writes a turn as server-sent events, with comments that keep the connection open.

Source of the format: the HTML standard, "Server-sent events".
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any

from flask import Response

from webapp.agent import TextDelta, ToolFinished, ToolStarted
from webapp.chat.values import ChatAnswer, ChatEvent
from webapp.error_object import object_of
from webapp.errors import SwitchboardError
from webapp.web.answers import ChatReply, to_json
from webapp.web.context import RequestContext
from webapp.web.door import EventWriter

logger = logging.getLogger("switchboard.errors")

KEEP_ALIVE_SECONDS = 10.0
KEEP_ALIVE = b": keep-alive\n\n"
END = None


def event(name: str, data: dict[str, Any]) -> bytes:
    """One event; the JSON is a single line, so it needs one `data` field."""
    return raw_event(name, json.dumps(data, ensure_ascii=False).encode())


def raw_event(name: str, data: bytes) -> bytes:
    """The same with JSON that is written already."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _tool(name: str, status: str, call_id: str) -> bytes:
    return event("tool", {"name": name, "status": status, "tool_call_id": call_id})


class NamedEvents:
    """The events `delta`, `tool`, `done` and `error`, each with a JSON object."""

    def event(self, item: ChatEvent) -> bytes:
        if isinstance(item, TextDelta):
            return event("delta", {"text": item.text})
        if isinstance(item, ToolStarted):
            return _tool(item.name, "started", item.tool_call_id)
        if isinstance(item, ToolFinished):
            return _tool(item.name, item.status, item.tool_call_id)
        if isinstance(item, ChatAnswer):
            return raw_event("done", to_json(ChatReply, item))
        return b""

    def error(self, error: SwitchboardError, request_id: str) -> bytes:
        return event("error", object_of(error, request_id))


NAMED_EVENTS = NamedEvents()


def stream_response(
    events: Iterator[ChatEvent],
    hang_up: threading.Event,
    request_id: str,
    *,
    inside: Context | None = None,
    here: RequestContext | None = None,
    writer: EventWriter = NAMED_EVENTS,
    keep_alive: float = KEEP_ALIVE_SECONDS,
) -> Response:
    """An answer that sends the turn's events as they come; `inside` is the turn's context, `here`
    the request's, which is over when the turn is and learns how that ended; `writer` the door's.

    The turn runs in a thread of its own, so that this one can send a comment when the model was
    silent for `keep_alive` seconds: proxies close an idle connection, and a server notices only
    when it sends that the client is gone. Then `hang_up` is set.
    """
    lines: queue.Queue[bytes | None] = queue.Queue()
    # It starts now and ends whatever happens to the response: a response that is never read would
    # never start the turn, which would keep the tenant's place in the queue.
    pump = threading.Thread(
        target=(inside or Context()).run,
        args=(_pump, events, lines, request_id, writer, here, here.ending.part() if here else None),
        name="turn",
        daemon=True,
    )
    pump.start()
    response = Response(
        _sent(lines, hang_up, keep_alive),
        mimetype="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
    response.call_on_close(hang_up.set)
    return response


def _pump(
    events: Iterator[ChatEvent],
    lines: queue.Queue[bytes | None],
    request_id: str,
    writer: EventWriter,
    here: RequestContext | None,
    over: Callable[[], None] | None,
) -> None:
    def failed(error: SwitchboardError) -> None:
        if here is not None:
            here.ended(error)
        lines.put(writer.error(error, request_id))

    try:
        for item in events:
            line = writer.event(item)
            if line:
                lines.put(line)
    except SwitchboardError as error:
        failed(error)
    except Exception as error:  # noqa: BLE001  # no handler is left once the head is sent
        logger.error(
            "unhandled_error",
            extra={"request_id": request_id, "exception": type(error).__name__},
        )
        failed(SwitchboardError("Something went wrong here."))
    finally:
        lines.put(END)
        if over is not None:
            over()


def _sent(
    lines: queue.Queue[bytes | None], hang_up: threading.Event, keep_alive: float
) -> Iterator[bytes]:
    try:
        while True:
            try:
                line = lines.get(timeout=keep_alive)
            except queue.Empty:
                line = KEEP_ALIVE
            if line is END:
                return
            yield line
    finally:
        hang_up.set()
