"""The audit log: filtered, in pages, as a download, and whether its hash chain is intact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, date, datetime
from typing import Any

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from pydantic import Field

from webapp.accounts import audit as log
from webapp.accounts.audit import AuditFilter, AuditRecord, BrokenAt, NotSealed
from webapp.accounts.audit.store import LAST_MOMENT
from webapp.periods import DAY_MS, iso_utc
from webapp.web.admin.display.downloads import csv_download, json_download
from webapp.web.admin.display.list_view import ListView, Pages
from webapp.web.admin.figures.cache import figure_cache
from webapp.web.admin.forms.binding import FormShape, bind_page
from webapp.web.context import services
from webapp.web.cursors import Cursor, read_cursor, write_cursor

ROWS = 50
VERIFIED_SECONDS = 5.0
NOBODY = -1
ACTIONS = (
    "clear_tenant",
    "clear_all",
    "forget_tenant",
    "block_tenant",
    "unblock_tenant",
    "change_tenant",
    "rename_session",
    "clear_session",
    "forget_session",
    "drop_sessions",
    "drop_old_messages",
    "export_tenant",
    "export_all",
    "import_tenant",
    "playground_turn",
    "change_agent",
    "restore_agent",
    "create_key",
    "rotate_key",
    "revoke_key",
    "create_admin",
    "change_admin_role",
    "set_admin_password",
    "disable_admin",
    "enable_admin",
    "remove_admin",
    "make_sign_in_link",
    "seal_audit_log",
    "restore_database",
    "sign_in",
    "sign_out",
    "sign_out_everywhere",
)
CSV_HEAD = (
    "id",
    "at",
    "actor",
    "role",
    "address",
    "action",
    "tenant",
    "target",
    "before",
    "after",
    "request_id",
    "hash",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Behind the entry of this number: the newest stand first."""

    entry: int


class AuditQuery(FormShape):
    """The query of the page; `until` is the last day that is shown."""

    tenant: str = Field(default="", max_length=255)
    actor: str = Field(default="", max_length=255)
    action: str = Field(default="", max_length=64)
    since: date | None = None
    until: date | None = None
    cursor: Cursor | None = None

    def asked(self) -> AuditFilter:
        return AuditFilter(
            actor=_actor(self.actor.strip()),
            action=self.action or None,
            tenant_id=_number(self.tenant.strip()),
            since=None if self.since is None else _begin(self.since),
            until=None if self.until is None else _begin(self.until) + DAY_MS,
        )

    def filters(self) -> dict[str, str]:
        return {
            "tenant": self.tenant,
            "actor": self.actor,
            "action": self.action,
            "since": "" if self.since is None else self.since.isoformat(),
            "until": "" if self.until is None else self.until.isoformat(),
        }

    def view(self, endpoint: str) -> ListView:
        return ListView(url_for(endpoint), self.filters(), "")


def audit() -> ResponseReturnValue:
    query = bind_page(AuditQuery)
    asked, view = query.asked(), query.view("admin.audit")
    of_list = ("audit", *astuple(asked))
    place = read_cursor(query.cursor, Place, *of_list)
    with services().database.read() as connection:
        page = log.page(
            connection, asked, before=None if place is None else place.entry, limit=ROWS
        )
    names = _Names()
    following = None if page.next_before is None else Place(page.next_before)
    return render_template(
        "admin/audit.html",
        entries=[names.shown(entry) for entry in page.records],
        chain=_chain(),
        filters=query.filters(),
        filtered=view.filtered,
        action_options=[(name, name.replace("_", " ")) for name in ACTIONS],
        pages=Pages(
            next_url=None
            if following is None
            else view.url(cursor=write_cursor(following, *of_list)),
            first_url=view.url() if query.cursor else None,
        ),
        csv_url=query.view("admin.audit_csv").url(),
        json_url=query.view("admin.audit_json").url(),
    )


def audit_csv() -> ResponseReturnValue:
    rows = _exported(bind_page(AuditQuery))
    cells = (tuple(_text(row[name]) for name in CSV_HEAD) for row in rows)
    return csv_download("audit.csv", CSV_HEAD, cells)


def audit_json() -> ResponseReturnValue:
    return json_download("audit.json", "entries", _exported(bind_page(AuditQuery)))


def readable(entry: AuditRecord) -> dict[str, Any]:
    """The entry as it is shown: times as text, and no empty figures."""
    return {**asdict(entry), "before": _figures(entry.before), "after": _figures(entry.after)}


def _figures(noted: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: iso_utc(value) if name.endswith("_at") and _is_moment(value) else value
        for name, value in noted.items()
        if value is not None
    }


def _is_moment(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LAST_MOMENT


class _Names:
    """The user ids behind tenants' numbers, each looked up once."""

    def __init__(self) -> None:
        self._directory = services().directory
        self._known: dict[int, str | None] = {}

    def of(self, number: int | None) -> str | None:
        if number is None:
            return None
        if number not in self._known:
            self._known[number] = self._directory.named(number)
        return self._known[number]

    def shown(self, entry: AuditRecord) -> dict[str, Any]:
        return {**readable(entry), "tenant": self.of(entry.tenant_id)}


def _exported(query: AuditQuery) -> Iterator[dict[str, Any]]:
    names, found = _Names(), log.export(services().database, query.asked())
    return ({**names.shown(entry), "at": iso_utc(entry.at)} for entry in found)


def _text(value: object) -> object:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {figure}" for name, figure in value.items())
    return value


def _chain() -> Mapping[str, object]:
    database, verify = services().database, services().audit.verify
    found = figure_cache().get(
        "chain", lambda: database.read_long(verify), seconds=VERIFIED_SECONDS
    )
    if found is None:
        return {"ok": True, "checked": 0, "pending": True}
    if isinstance(found, BrokenAt):
        return {"ok": False, "checked": 0, "broken_at": found.id, "reason": found.reason}
    if isinstance(found, NotSealed):
        return {"ok": False, "checked": found.count, "not_sealed": found.sentence}
    return {"ok": True, "checked": found.count}


def _actor(typed: str) -> str | None:
    """An actor as the log names it: an admin's name gets its prefix; `key:…` and `cli` stay."""
    if not typed or ":" in typed or typed in ("cli", "local"):
        return typed or None
    return f"admin:{typed.lower()}"


def _number(user_id: str) -> int | None:
    if not user_id:
        return None
    found = services().directory.number(user_id)
    return NOBODY if found is None else found


def _begin(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
