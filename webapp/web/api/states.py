"""/api/tenants/{user_id}/sessions/{session_id}/state: a session's state, a JSON object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from flask import Response
from pydantic import Field, ValidationError

from webapp.errors import InvalidInput, StateConflict
from webapp.ids import check_session_id
from webapp.memory.states.store import StoredState
from webapp.session_state.values import fields_of, read_fields, values_of
from webapp.session_state.versions import Precondition
from webapp.web import answers
from webapp.web.answers import answer
from webapp.web.api.tenants import tenant_of_path
from webapp.web.binding import SessionId, Shape, UserId, invalid, json_object, require_no_query
from webapp.web.context import services
from webapp.web.preconditions import precondition


class StateBody(Shape):
    """The body of PUT …/state: the state alone, or all that GET answered."""

    state: dict[str, Any]
    version: Annotated[
        int | None,
        Field(ge=0, description="the version that was read, as in `If-Match`; 409 for another"),
    ] = None
    user_id: UserId | None = None
    session_id: SessionId | None = None


def get_state(user_id: str, session_id: str) -> Response:
    """The state of a session; empty and of version 0 where there never was one."""
    user_id, session_id = _who(user_id, session_id)
    return _answer(user_id, session_id, services().states.get(user_id, session_id))


def put_state(user_id: str, session_id: str) -> Response:
    """Puts another state in its place, if the one that is there is the one that was read."""
    user_id, session_id = _who(user_id, session_id)
    condition = precondition()
    body = json_object()
    state: Mapping[str, Any] = body
    if "state" in body:
        whole = _whole(body, user_id, session_id)
        state, condition = whole.state, _narrowed(condition, whole.version)
    after = services().states.put(user_id, session_id, fields_of(state), condition)
    return _answer(user_id, session_id, after)


def delete_state(user_id: str, session_id: str) -> Response:
    """Removes the state. Its version goes on, so that nobody takes a later state for an older."""
    user_id, session_id = _who(user_id, session_id)
    after = services().states.remove(user_id, session_id, precondition())
    return _answer(user_id, session_id, after)


def _who(user_id: str, session_id: str) -> tuple[str, str]:
    require_no_query()
    return tenant_of_path(user_id), check_session_id(session_id)


def _whole(body: Mapping[str, Any], user_id: str, session_id: str) -> StateBody:
    """A body with a field `state`, whose other fields must say what the address says."""
    try:
        whole = StateBody.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from None
    for name, given, wanted in (
        ("user_id", whole.user_id, user_id),
        ("session_id", whole.session_id, session_id),
    ):
        if given is not None and given != wanted:
            sentence = f"{name} is another than that of the address"
            raise InvalidInput(sentence, fields={name: sentence})
    return whole


def _narrowed(condition: Precondition, version: int | None) -> Precondition:
    if version is None:
        return condition
    if condition.versions is not None and version not in condition.versions:
        raise StateConflict("The version in the body is none of those in If-Match.")
    return replace(condition, versions=frozenset({version}))


def _answer(user_id: str, session_id: str, stored: StoredState) -> Response:
    response = answer(
        answers.SessionState,
        {
            "user_id": user_id,
            "session_id": session_id,
            "state": values_of(read_fields(stored.text)),
            "version": stored.version,
        },
    )
    response.headers["ETag"] = f'"{stored.version}"'
    return response
