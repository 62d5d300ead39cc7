"""The agent's page: its configuration, changes to it, and earlier versions to restore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Any

from flask import flash, make_response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.audit import AuditEntry
from webapp.agent import Toolkit
from webapp.chat.configuration import AgentConfiguration
from webapp.errors import Conflict, InvalidInput
from webapp.storage import Connection
from webapp.web.admin.forms.binding import FormShape, bind_form
from webapp.web.admin.session.visitor import actor
from webapp.web.context import services
from webapp.web.mcp_state import servers_now
from webapp.web.request_counts import guardrail_refusals

CONFLICT = (
    "Somebody else has changed the agent since you opened this page. What you typed is below and"
    " not in force; their version is in the history. Save again to put yours in its place."
)


class TypedAgent(FormShape):
    """The form as it was typed, in texts; faults are shown at the fields."""

    version: int
    name: str = ""
    model: str = ""
    instructions: str = ""
    context_max_messages: str = ""
    max_loops: str = ""


class Version(FormShape):
    """The version that the page showed."""

    version: int


def agent() -> ResponseReturnValue:
    return _page()


def change() -> ResponseReturnValue:
    typed = bind_form(TypedAgent)
    try:
        wanted = _wanted(typed)
        services().configurations.change(
            wanted, by=actor().name, expected=typed.version, audit=_audit()
        )
    except InvalidInput as error:
        return make_response(_page(typed, error.fields), HTTPStatus.BAD_REQUEST)
    except Conflict:
        flash(CONFLICT, "warning")
        return make_response(_page(typed), HTTPStatus.CONFLICT)
    flash("Saved. It holds from the next turn of every tenant.", "success")
    return redirect(url_for("admin.agent"), HTTPStatus.SEE_OTHER)


def restore(version: int) -> ResponseReturnValue:
    """Makes an earlier version the current one, as a new version."""
    seen, earlier = bind_form(Version), services().configurations.find(version)
    services().configurations.change(
        replace(earlier, restored_from=version),
        by=actor().name,
        expected=seen.version,
        audit=_audit(),
    )
    state = f"Version {version}" if version else "What the settings say"
    flash(f"{state} is in force again, from the next turn on.", "success")
    return redirect(url_for("admin.agent"), HTTPStatus.SEE_OTHER)


def _page(typed: TypedAgent | None = None, faults: Mapping[str, str] | None = None) -> str:
    with services().database.read() as connection:
        current = services().configurations.current(connection)
    config: dict[str, Any] = asdict(current)
    if typed is not None:
        config |= typed.model_dump(exclude={"version"})
    return render_template(
        "admin/agent.html",
        config=config,
        history=services().configurations.history(),
        toolkits=[kit for kit in services().toolkits if isinstance(kit, Toolkit)],
        mcp_servers=servers_now(),
        guardrails=services().extensions().guardrails,
        refusals=guardrail_refusals(),
        faults=faults or {},
    )


def _wanted(typed: TypedAgent) -> AgentConfiguration:
    numbers: dict[str, int] = {}
    fields: dict[str, str] = {}
    for name in ("context_max_messages", "max_loops"):
        text = getattr(typed, name).strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            numbers[name] = int(text)
        else:
            fields[name] = f"{name} must be a whole number"
    if fields:
        raise InvalidInput("; ".join(fields.values()), fields=fields)
    return AgentConfiguration(
        name=typed.name,
        model=typed.model,
        # A form's lines end in CR LF; the model should not be told so.
        instructions=typed.instructions.replace("\r\n", "\n"),
        context_max_messages=numbers["context_max_messages"],
        max_loops=numbers["max_loops"],
    )


def _audit() -> Any:
    by, log = actor(), services().audit

    def write(
        connection: Connection, before: AgentConfiguration, after: AgentConfiguration
    ) -> None:
        was, became = _facts(before), _facts(after)
        changed = [
            name
            for name in was
            if was[name] != became[name] or name == "version" or name == "restored_from"
        ]
        entry = AuditEntry(
            by,
            "change_agent" if after.restored_from is None else "restore_agent",
            target="agent",
            before={name: was[name] for name in changed if was[name] is not None},
            after={name: became[name] for name in changed if became[name] is not None},
        )
        log.record(connection, entry)

    return write


def _facts(configuration: AgentConfiguration) -> dict[str, Any]:
    """Figures and settings; the instructions themselves are in the history."""
    return {
        "version": configuration.number,
        "restored_from": configuration.restored_from,
        "name": configuration.name,
        "model": configuration.model,
        "instructions_chars": len(configuration.instructions),
        "context_max_messages": configuration.context_max_messages,
        "max_loops": configuration.max_loops,
    }
