"""Acts on one tenant: clear, forget, block, own limits; each asks first or can be undone."""

from __future__ import annotations

from http import HTTPStatus

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.errors import InvalidInput, NotFound
from webapp.tenant_data.figures import Figures, of_tenant
from webapp.tenants.notes import AuditNote
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.rows import TenantRow
from webapp.web.admin.display.format import number, plural
from webapp.web.admin.forms.double_submit import act_once
from webapp.web.admin.pages.tenant import tenant_page
from webapp.web.audited import audited
from webapp.web.context import services


def clear_page(user_id: str) -> ResponseReturnValue:
    row = services().directory.get(user_id)
    return render_template("admin/tenant_clear.html", tenant=row, **_before(row))


def clear(user_id: str) -> ResponseReturnValue:
    services().directory.get(user_id)  # a page whose tenant is gone says so
    said = act_once(lambda audit: services().acts.clear(user_id, audit=audit), cleared)
    if said is None:
        raise NotFound("There is no such tenant.")
    flash(said, "success")
    return _to_tenant(user_id)


def forget_page(user_id: str) -> ResponseReturnValue:
    row = services().directory.get(user_id)
    return render_template("admin/tenant_forget.html", tenant=row, **_before(row))


def forget(user_id: str) -> ResponseReturnValue:
    said = act_once(lambda audit: services().acts.forget(user_id, audit=audit), _forgotten)
    flash(said or "There was nothing to forget.", "success")
    return redirect(url_for("admin.tenants"), HTTPStatus.SEE_OTHER)


def block(user_id: str) -> ResponseReturnValue:
    wanted = request.form.get("blocked")
    if wanted not in ("yes", "no"):
        raise InvalidInput("blocked must be yes or no", fields={"blocked": "must be yes or no"})
    services().directory.update(user_id, TenantChange(blocked=wanted == "yes"), audit=audited())
    flash(
        "The tenant is blocked: its next turn is refused."
        if wanted == "yes"
        else "The tenant may talk to the agent again.",
        "success",
    )
    return _to_tenant(user_id)


def limit(user_id: str) -> ResponseReturnValue:
    rate_limit = request.form.get("rate_limit", "").strip()
    token_budget = request.form.get("token_budget", "").strip()
    change = TenantChange(rate_limit=rate_limit or None, token_budget=token_budget or None)
    try:
        services().directory.update(user_id, change, audit=audited())
    except InvalidInput as error:
        page = tenant_page(
            user_id,
            limit_typed=rate_limit,
            budget_typed=token_budget,
            limit_fault=error.fields.get("rate_limit", ""),
            budget_fault=error.fields.get("token_budget", ""),
        )
        return page, HTTPStatus.BAD_REQUEST
    flash("The limits are saved and in force.", "success")
    return _to_tenant(user_id)


def cleared(note: AuditNote) -> str:
    messages: int = note.before["messages"]
    return f"Cleared {plural(messages, 'message')}. The agent does not remember them any more."


def _forgotten(note: AuditNote) -> str:
    gone = note.before
    return (
        f"Forgotten: {plural(gone['messages'], 'message')}, {plural(gone['sessions'], 'session')}"
        f" and the records of {number(gone['requests'])} requests are gone."
    )


def _before(row: TenantRow) -> dict[str, Figures | str]:
    with services().database.read() as connection:
        figures = of_tenant(connection, row.number)
    return {
        "figures": figures,
        "export_url": url_for("admin.tenant_export", user_id=row.user_id),
    }


def _to_tenant(user_id: str) -> ResponseReturnValue:
    return redirect(url_for("admin.tenant", user_id=user_id), HTTPStatus.SEE_OTHER)
