"""The workflows that are on, a tenant's runs of them, and one run with its steps."""

from __future__ import annotations

import json
from typing import Any

from flask import render_template, url_for
from flask.typing import ResponseReturnValue

from webapp.accounts.roles import Permission
from webapp.errors import NotFound
from webapp.served_workflows.reading import RunPlace, run_of, run_page
from webapp.web.admin.display.list_view import Pages
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.admin.session.visitor import visitor
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

ROWS = 50
SHOWN_CHARS = 4000


class RunsQuery(FormShape):
    cursor: Cursor | None = None


def workflows() -> ResponseReturnValue:
    found = services().workflows.workflows.values()
    return render_template("admin/workflows.html", workflows=found)


def tenant_runs(user_id: str) -> ResponseReturnValue:
    query = bind_page(RunsQuery)
    row = services().directory.get(user_id)
    of_list = ("workflow-runs", row.number)
    place = read_cursor(query.cursor, RunPlace, *of_list)
    page = run_page(services().database, row.number, limit=ROWS, place=place)
    first = url_for("admin.tenant_runs", user_id=user_id)
    following = write_cursor(page.following, *of_list)
    return render_template(
        "admin/tenant_runs.html",
        tenant=row,
        runs=page.rows,
        pages=Pages(
            next_url=following and url_for("admin.tenant_runs", user_id=user_id, cursor=following),
            first_url=first if query.cursor else None,
        ),
    )


def tenant_run(user_id: str, run_id: str) -> ResponseReturnValue:
    row = services().directory.get(user_id)
    run = run_of(services().database, row.number, run_id)
    if run is None:
        raise NotFound("There is no such run.")
    shown = visitor().may(Permission.READ_CONVERSATIONS)
    return render_template(
        "admin/tenant_run.html",
        tenant=row,
        run=run,
        input=_text(run.input) if shown else None,
        output=_text(run.content) if shown and run.content is not None else None,
        steps=[(step, _text(step.output) if shown else None) for step in run.steps],
    )


def _text(value: Any) -> str:
    """A value as people read it, no longer than a page bears."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]} …"
