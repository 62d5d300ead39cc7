"""Pictures of the console over made-up tenants, in Debian's Chromium.

Without an argument the few that the README shows, into docs/screenshots/. With a folder, every
page at 380 and 1440 pixels, light and dark, to be looked at; what is wider than its window or
what axe-core finds is printed, and makes the command fail.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import sync_playwright

from benchmarks import fill
from benchmarks.processes import free_port
from tests.browser.people import OWNER, PAGES, Site, Visitor, launch
from tests.server.running import Server
from tests.upstream import Answer, saying, upstream
from webapp.accounts.audit import Actor, AuditEntry
from webapp.periods import DAY_MS
from webapp.storage import Connection
from webapp.tenants.listing.query import TenantFilter, TenantQuery
from webapp.tenants.notes import AuditNote
from webapp.tenants.restrictions.change import TenantChange

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "screenshots"
TENANTS, MESSAGES = 1200, 20_000
README = (
    ("overview", "/admin/?window=7d", "light"),
    ("overview-dark", "/admin/?window=7d", "dark"),
    ("tenants", "/admin/tenants?sort=-request_count", "light"),
    ("tenant", "/admin/tenants/{tenant}?window=24h", "light"),
    ("audit", "/admin/audit", "light"),
)
OPEN_PAGES = ("/admin/login", "/admin/login/link?token=x")
Colours = Literal["light", "dark"]


ANSWERS = {
    "My name is Alice.": "Nice to meet you, Alice. What can I do for you?",
    "What is my name?": "Your name is Alice.",
}


def _polite(request: dict[str, Any]) -> Answer:
    return saying(ANSWERS.get(request["messages"][-1]["content"], "Gladly."))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="where pictures of every page go")
    folder: Path | None = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch, _site(Path(scratch)) as site:
        tenant = _prepare(site)
        if folder is None:
            _readme(site, tenant)
            return 0
        faults = _every_page(site, tenant, folder)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


@contextmanager
def _site(scratch: Path) -> Iterator[Site]:
    database = scratch / "switchboard.db"
    now_ms = time.time_ns() // 1_000_000
    deque(fill.fill(database, TENANTS, MESSAGES, now_ms), maxlen=0)
    with upstream(_polite) as model, sync_playwright() as playwright:
        server = Server(scratch, free_port(), model.base_url).start()
        browser, services = launch(playwright), server.services()
        services.admins.create(OWNER, by=Actor.command_line())
        try:
            yield Site(server, browser, services)
        finally:
            browser.close()
            services.database.close()
            server.end()


def _prepare(site: Site) -> str:
    """A conversation worth a look, some keys and some acts in the log; gives the tenant."""
    by, services = Actor(f"admin:{OWNER}", "owner", "127.0.0.1", "req-1f0c2a9be4d1"), site.services

    def audit(connection: Connection, note: AuditNote) -> None:
        entry = AuditEntry(by, note.action, note.tenant, before=note.before, after=note.after)
        services.audit.record(connection, entry)

    recent = TenantFilter(active_within_ms=DAY_MS)
    page = services.directory.page(TenantQuery(recent, sort="-request_count"))
    tenant, *others = [row.user_id for row in page.rows]
    site.talk(tenant, "My name is Alice.", "What is my name?")
    services.admins.create("bob", by=by, role="operator")
    services.admins.create("mallory", by=by, role="viewer")
    services.keys.create("Shop backend", role="chat", users="*", by=by)
    services.keys.create("Acme's own app", role="chat", users="org-acme-*", by=by)
    services.acts.clear(others[0], audit=audit)
    services.directory.update(others[1], TenantChange(blocked=True), audit=audit)
    services.directory.update(tenant, TenantChange(rate_limit="120/minute"), audit=audit)
    services.acts.forget(others[2], audit=audit)
    services.admins.change_role("mallory", "operator", by=by)
    services.directory.update(others[1], TenantChange(blocked=False), audit=audit)
    services.acts.clear(others[3], audit=audit)
    return tenant


def _readme(site: Site, tenant: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with site.visitor() as alice:
        alice.sign_in(site.services)
        for name, path, colours in README:
            alice.page.emulate_media(color_scheme=_colours(colours))
            _open(alice, path.format(tenant=tenant))
            alice.page.screenshot(path=PICTURES / f"{name}.png")
            print(f"docs/screenshots/{name}.png")


def _every_page(site: Site, tenant: str, folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    for width in (380, 1440):
        for colours in ("light", "dark"):
            with site.visitor(colours=_colours(colours), width=width) as alice:
                for number, path in enumerate((*OPEN_PAGES, *PAGES)):
                    if number == len(OPEN_PAGES):
                        alice.sign_in(site.services)
                    _open(alice, path.format(tenant=tenant))
                    name = "".join(c if c.isalnum() else "-" for c in path[7:]) or "overview"
                    picture = folder / f"{name}-{width}-{colours}.png"
                    alice.page.screenshot(path=picture, full_page=True)
                    wide = alice.page.evaluate("document.documentElement.scrollWidth")
                    if wide > width:
                        faults.append(f"{path} is {wide} pixels wide in {width}")
                    faults += [f"{path} {width} {colours}: {fault}" for fault in alice.axe()]
    return faults


def _open(alice: Visitor, path: str) -> None:
    alice.open(path)
    if "Still counting" in alice.page.content():
        alice.page.wait_for_timeout(1000)
        alice.open(path)
    alice.page.wait_for_load_state("networkidle")


def _colours(name: str) -> Colours:
    return "dark" if name == "dark" else "light"


if __name__ == "__main__":
    sys.exit(main())
