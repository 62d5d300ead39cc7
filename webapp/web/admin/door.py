"""The console's door, and the door of the files that its pages load."""

from __future__ import annotations

from webapp.web.admin.layout.error_pages import error_page
from webapp.web.admin.paths import PREFIX
from webapp.web.admin.session.visitor import find_visitor
from webapp.web.door import Door, nobody
from webapp.web.errors import json_error
from webapp.web.sse import NamedEvents

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
        " object-src 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # With no-referrer a browser would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
NOT_STORED = {"Cache-Control": "no-store"}

CONSOLE = Door(
    name="console",
    prefix=PREFIX,
    find_caller=find_visitor,
    write_error=error_page,
    events=NamedEvents(),
    headers=PAGE_HEADERS | NOT_STORED,
    cross_origin=False,
    documented=False,
)
FILES = Door(
    name="files",
    prefix="/static",
    find_caller=nobody,
    write_error=json_error,
    events=NamedEvents(),
    headers=PAGE_HEADERS | NOT_STORED,
    cross_origin=True,
    documented=False,
)
