"""Reads an export and checks each line of it; restoring.py stores it.

The format is described in export.py. Exports of version 1 are read as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, time
from typing import Any

from pydantic import ValidationError

from webapp.messages import Message, ToolCall
from webapp.storable import holds_storable
from webapp.tenant_data.transfer import shapes
from webapp.tenant_data.transfer.export import (
    ALL_END,
    ALL_FORMAT,
    ALL_VERSION,
    COUNTED,
    FORMAT,
    RUN_JSON,
    STEP_JSON,
    VERSION,
)
from webapp.tenant_data.transfer.items import (
    FROM_FILE,
    IN_MEMORY,
    MAX_LINE_BYTES,
    Begun,
    Bounds,
    Ended,
    Item,
    Noted,
    Ran,
    Requested,
    Said,
    Stepped,
    Used,
    wrong,
)
from webapp.usage.figures import REQUEST
from webapp.usage.histogram import NO_LATENCY


def read_export(lines: Iterable[bytes], bounds: Bounds = IN_MEMORY) -> Iterator[Item]:
    """The items of one tenant's export; `InvalidInput` says which line is wrong and why."""
    reader, number = _TenantReader(bounds), 0
    for number, line in enumerate(lines, start=1):
        yield from reader.take(object_of(line, number), number)
    if not reader.over:
        raise wrong(number + 1, "is missing: the export was cut off")


def read_export_of_all(lines: Iterable[bytes], bounds: Bounds = FROM_FILE) -> Iterator[Item]:
    """The items of all tenants in an export of all of them."""
    reader: _TenantReader | None = None
    seen: set[int] = set()
    number, ended = 0, False
    for number, line in enumerate(lines, start=1):
        value = object_of(line, number)
        if ended:
            raise wrong(number, "stands behind the end")
        if number == 1:
            _check_head_of_all(value)
        elif value["type"] == ALL_END and reader is None:
            if value.get("tenants") != len(seen):
                raise wrong(number, "names another number of tenants than there are")
            ended = True
        else:
            reader = reader or _TenantReader(bounds)
            for item in reader.take(value, number):
                if isinstance(item, Begun):
                    _note_tenant(seen, item)
                yield item
            if reader.over:
                reader = None
    if not ended:
        raise wrong(number + 1, "is missing: the export was cut off")


def _check_head_of_all(value: dict[str, Any]) -> None:
    if value["type"] == FORMAT:
        raise wrong(1, "begins the export of one tenant, and not of all")
    if value["type"] != ALL_FORMAT or value.get("version") != ALL_VERSION:
        raise wrong(1, f"is not the head of an export of all tenants of version {ALL_VERSION}")


def _note_tenant(seen: set[int], begun: Begun) -> None:
    # Of a million ids only the hashes are kept; a clash of two among them is no likely fate.
    mark = hash(begun.user_id)
    if mark in seen:
        raise wrong(begun.line, "names a tenant a second time")
    seen.add(mark)


class _TenantReader:
    """One tenant's export, line by line."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._head: shapes.Head | None = None
        self._conversations = True
        self._begun = False
        self.over = False
        self._sessions: set[str] = set()
        self._messages = self._requests = self._usage = 0
        self._notes = self._steps = 0
        self._note_numbers: set[int] = set()
        self._runs: set[str] = set()
        self._seen_usage: set[tuple[Any, ...]] = set()

    def take(self, value: dict[str, Any], number: int) -> Iterator[Item]:
        """What the line says, which is nothing for the head."""
        try:
            yield from self._items(value, number)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise wrong(number, f"is wrong at {place}") from None

    def _items(self, value: dict[str, Any], number: int) -> Iterator[Item]:
        kind = value["type"]
        if self.over:
            raise wrong(number, "stands behind the end")
        if self._head is None:
            if kind == ALL_FORMAT:
                raise wrong(number, "begins an export of all tenants, and not of one")
            if kind != FORMAT or value.get("version") not in range(1, VERSION + 1):
                raise wrong(number, f"is not the head of an export of version 1 to {VERSION}")
            self._head = shapes.Head.model_validate(value)
            self._conversations = value.get("conversations") is not False
        elif kind == "end":
            yield self._ended(shapes.End.model_validate(value), number)
        elif kind == "tenant" and not self._begun:
            tenant = shapes.Tenant.model_validate(value)
            self._begun = True
            version = self._head.version
            yield Begun(number, tenant.user_id, tenant, version, self._conversations)
        elif not self._begun or kind not in COUNTED:
            raise wrong(number, "has an unknown type, is a second tenant, or stands before it")
        else:
            yield self._row(kind, value, self._head.version, number)

    def _row(self, kind: str, value: dict[str, Any], version: int, number: int) -> Item:
        if kind == "session":
            session = shapes.Session.model_validate(value)
            if session.session_id in self._sessions:
                raise wrong(number, "names a session a second time, or one too many")
            self._note_session(session.session_id, number)
            return session
        if kind == "message":
            return self._said(shapes.StoredMessage.model_validate(value), number)
        if kind == "note":
            return self._noted(shapes.Note.model_validate(value), number)
        if kind == "workflow_run":
            return self._ran(shapes.Run.model_validate(value), number)
        if kind == "workflow_step":
            return self._stepped(shapes.Step.model_validate(value), number)
        if kind == "request":
            self._requests += 1
            if self._requests > self._bounds.requests:
                raise wrong(number, "is one request too many")
            request = shapes.Request.model_validate(value)
            return Requested({**request.model_dump(), "at": ms(request.at)})
        row = _usage_row(value, version)
        key = tuple(row[name] for name in ("period", "at", "measure", "code", "bucket"))
        self._usage += 1
        if key in self._seen_usage or self._usage > self._bounds.usage:
            raise wrong(number, "is a sum of usage for the second time, or one too many")
        self._seen_usage.add(key)
        return Used(row)

    def _note_session(self, name: str, number: int) -> None:
        self._sessions.add(name)
        if len(self._sessions) > self._bounds.sessions:
            raise wrong(number, "names a session a second time, or one too many")

    def _said(self, given: shapes.StoredMessage, number: int) -> Said:
        self._messages += 1
        if self._messages > self._bounds.messages:
            raise wrong(number, "is one message too many")
        # A session that began while its tenant was exported has messages and no line.
        self._note_session(given.session_id, number)
        calls = tuple(
            ToolCall(call.id, call.function.name, call.function.arguments)
            for call in given.tool_calls
        )
        at = ms(given.created_at)
        message = Message(given.role, given.content, given.id, calls, given.tool_call_id, at)
        return Said(given.session_id, message)

    def _noted(self, note: shapes.Note, number: int) -> Noted:
        self._notes += 1
        if note.number in self._note_numbers or self._notes > self._bounds.others:
            raise wrong(number, "has the number of another note, or is one note too many")
        if note.number is not None:
            self._note_numbers.add(note.number)
        return Noted(note.number, note.content, ms(note.created_at))

    def _ran(self, run: shapes.Run, number: int) -> Ran:
        if run.run_id in self._runs or len(self._runs) >= self._bounds.others:
            raise wrong(number, "names a run a second time, or one too many")
        self._runs.add(run.run_id)
        values = _written(run, RUN_JSON)
        return Ran({**values, "created_at": ms(run.created_at), "updated_at": ms(run.updated_at)})

    def _stepped(self, step: shapes.Step, number: int) -> Stepped:
        self._steps += 1
        if step.run_id not in self._runs or self._steps > self._bounds.others:
            raise wrong(number, "is a step of an unknown run, or one too many")
        values = _written(step, STEP_JSON)
        del values["run_id"]
        at = ms(step.started_at)
        return Stepped(step.run_id, {**values, "visible": int(step.visible), "started_at": at})

    def _ended(self, end: shapes.End, number: int) -> Ended:
        counted = (
            self._begun
            and end.messages == self._messages
            and end.sessions <= len(self._sessions)
            and end.requests in (None, self._requests)
            and end.usages in (None, self._usage)
            and end.notes in (None, self._notes)
            and end.workflow_runs in (None, len(self._runs))
            and end.workflow_steps in (None, self._steps)
        )
        if not counted:
            raise wrong(number, "names other numbers of sessions, messages or rows than there are")
        self.over = True
        return Ended(len(self._sessions), self._messages, self._requests)


def object_of(
    line: bytes, number: int, most: int | None = None, field: str = "type"
) -> dict[str, Any]:
    """The line as a JSON object that has the field, with nothing in it that cannot be stored."""
    most = MAX_LINE_BYTES if most is None else most
    if len(line) > most:
        raise wrong(number, f"is longer than {most} bytes")
    try:
        value: dict[str, Any] = json.loads(
            line, parse_constant=_refuse_constant, parse_float=_finite
        )
        _ = value[field]
        fits = holds_storable(value)
    except (ValueError, TypeError, KeyError, RecursionError):
        article = "a type" if field == "type" else field
        raise wrong(number, f"is not a JSON object with {article}") from None
    if not fits:
        raise wrong(number, "holds a NUL or half a surrogate pair, and so no Unicode text")
    return value


def _written(row: shapes.Run | shapes.Step, of_json: Collection[str]) -> dict[str, Any]:
    """The row's columns; what is JSON as text, None where there is nothing."""
    values = row.model_dump()
    for name in of_json:
        given = name in row.model_fields_set
        values[name] = json_text(values[name]) if given else None
    return values


def json_text(value: object) -> str:
    """As this and that room writes JSON into its rows."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _usage_row(value: dict[str, Any], version: int) -> dict[str, Any]:
    if version > 1:
        usage = shapes.Usage.model_validate(value)
        return {**usage.model_dump(), "at": ms(usage.at)}
    day = shapes.DayOfUsage.model_validate(value)
    midnight = datetime.combine(day.day, time(), UTC)
    return {
        **day.model_dump(exclude={"day"}),
        "period": "day",
        "at": ms(midnight),
        "measure": REQUEST,
        "code": "",
        "bucket": NO_LATENCY,
    }


def ms(moment: datetime) -> int:
    """Milliseconds since 1970-01-01 UTC."""
    return round(moment.timestamp() * 1000)


def _finite(text: str) -> float:
    """Of 1e999 Python makes the infinite number, which it would write as what is no JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refuse_constant(name: str) -> None:
    """Python takes NaN and Infinity for JSON; those who read the answers do not."""
    raise ValueError(name)
