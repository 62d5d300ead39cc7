"""/api/tenants: list, look at, limit, block, clear, forget; see sessions.py and transfers.py."""

from __future__ import annotations

from dataclasses import astuple
from typing import Annotated, Any, Final, Literal

from flask import Response
from pydantic import ConfigDict, Field, StringConstraints

from webapp.allowances import MAX_LIMIT_CHARS
from webapp.errors import InvalidInput
from webapp.ids import check_user_id
from webapp.memory.fields import message_fields
from webapp.memory.paging.conversation import ConversationPage, Place, conversation
from webapp.storage.narrowing import narrow
from webapp.tenants.fields import tenant_fields
from webapp.tenants.listing.query import (
    DEFAULT_SORT,
    SORTS,
    Position,
    TenantFilter,
    TenantQuery,
)
from webapp.tenants.restrictions.change import UNSET, TenantChange
from webapp.tenants.rows import TenantRow
from webapp.web.answers import (
    AllCleared,
    Cleared,
    Forgotten,
    ListedTenant,
    MessageList,
    Tenant,
    TenantList,
    answer,
)
from webapp.web.audited import audited
from webapp.web.binding import QueryShape, SessionId, Shape, bind_json, bind_query
from webapp.web.context import caller, context, services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

Limit = Annotated[int, Field(ge=1, le=200)]
Search = Annotated[str, StringConstraints(max_length=255)]
# The plain spelling; that of Flask-Limiter and of the budgets allows for others as well.
RATE_LIMIT_SCHEMA: Final[dict[str, Any]] = {
    "examples": ["60/minute;2000/day"],
    "maxLength": MAX_LIMIT_CHARS,
    "pattern": r"^[1-9][0-9]{0,8}/(second|minute|hour|day)"
    r"(;[1-9][0-9]{0,8}/(second|minute|hour|day))*$",
}
TOKEN_BUDGET_SCHEMA: Final[dict[str, Any]] = {
    "examples": ["100000/day;2000000/month"],
    "pattern": r"^[0-9]{1,15}/(day(;[0-9]{1,15}/month)?|month(;[0-9]{1,15}/day)?)$",
}


class TenantsQuery(QueryShape):
    """The query of GET /api/tenants."""

    search: Search = ""
    sort: str = Field(DEFAULT_SORT, json_schema_extra={"enum": list(SORTS)})
    limit: Limit = 50
    cursor: Cursor | None = None
    blocked: bool | None = None
    has_errors: bool = False


class TenantPatch(Shape):
    """The body of PATCH /api/tenants/{user_id}; null goes back to the default."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    blocked: bool = False
    rate_limit: str | None = Field(None, json_schema_extra=RATE_LIMIT_SCHEMA)
    token_budget: str | None = Field(None, json_schema_extra=TOKEN_BUDGET_SCHEMA)


class MessagesQuery(QueryShape):
    """The query of GET /api/tenants/{user_id}/messages."""

    session_id: SessionId | None = None
    limit: Limit = 50
    cursor: Cursor | None = None


class ClearAll(Shape):
    """The body of DELETE /api/tenants/messages; its words confirm that it is meant."""

    confirm: Literal["clear all tenants"]


def tenant_of_path(user_id: str) -> str:
    """The tenant in the path, when the caller may look at it; `NotFound` when not."""
    context().tenant = caller().looks_at(check_user_id(user_id))
    return user_id


def list_tenants() -> Response:
    """A page of the tenants that the caller's credential may look at."""
    asked = bind_query(TenantsQuery)
    pattern = caller().users
    narrowed = TenantFilter(
        search=asked.search,
        blocked=asked.blocked,
        has_errors=asked.has_errors,
        prefix=pattern.text if pattern.is_prefix else "",
        only=None if pattern.is_prefix else pattern.text,
    )
    of_list = ("tenants", asked.sort, *astuple(narrowed))
    position = read_cursor(asked.cursor, Position, *of_list)
    page = services().directory.page(TenantQuery(narrowed, asked.sort, asked.limit, position))
    following = write_cursor(page.following, *of_list)
    return answer(TenantList, {"tenants": map(_listed, page.rows), "next_cursor": following})


def get_tenant(user_id: str) -> Response:
    """One tenant."""
    return answer(Tenant, tenant_fields(services().directory.get(tenant_of_path(user_id))))


def change_tenant(user_id: str) -> Response:
    """Blocks, unblocks or limits one tenant; answers with the tenant as it is now."""
    user_id = tenant_of_path(user_id)
    asked = bind_json(TenantPatch)
    if not asked.model_fields_set:
        raise InvalidInput("The body must name blocked, rate_limit or token_budget.")
    given: dict[str, Any] = {name: getattr(asked, name) for name in asked.model_fields_set}
    change = TenantChange(
        blocked=given.get("blocked", UNSET),
        rate_limit=given.get("rate_limit", UNSET),
        token_budget=given.get("token_budget", UNSET),
    )
    tenant = services().directory.update(user_id, change, audit=audited())
    return answer(Tenant, tenant_fields(tenant))


def forget_tenant(user_id: str) -> Response:
    """Deletes the tenant and all its data; answers with what was deleted."""
    gone = services().acts.forget(tenant_of_path(user_id), audit=audited())
    return answer(Forgotten, gone)


def list_messages(user_id: str) -> Response:
    """The tenant's memory, oldest first; of one session, or of all, each in one piece."""
    user_id = tenant_of_path(user_id)
    asked = bind_query(MessagesQuery)
    number = services().directory.number(user_id)
    of_list = ("messages", number, asked.session_id)
    place = read_cursor(asked.cursor, Place, *of_list)
    page = ConversationPage(())
    if number is not None:
        with services().database.read() as connection:
            narrow(connection, number)
            page = conversation(
                connection, number, asked.session_id, limit=asked.limit, place=place
            )
    later = write_cursor(page.later, *of_list)
    messages = map(message_fields, page.messages)
    return answer(MessageList, {"messages": messages, "next_cursor": later})


def clear_messages(user_id: str) -> Response:
    """Clears one tenant's memory; a tenant that is not known has nothing to clear."""
    user_id = tenant_of_path(user_id)
    return answer(Cleared, {"cleared": services().acts.clear(user_id, audit=audited())})


def clear_all() -> Response:
    """Clears every tenant's memory, once the caller has said so in words."""
    bind_json(ClearAll)
    cleared, tenants = services().acts.clear_all(audit=audited())
    return answer(AllCleared, {"cleared": cleared, "tenants": tenants})


def _listed(tenant: TenantRow) -> dict[str, Any]:
    """What the list shows of it."""
    fields = tenant_fields(tenant)
    return {name: fields[name] for name in ListedTenant.model_fields}
