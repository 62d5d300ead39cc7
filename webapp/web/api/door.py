"""The REST door: credentials in `Authorization`, errors as JSON, open to other origins' pages."""

from __future__ import annotations

from webapp.web.door import Door
from webapp.web.errors import json_error
from webapp.web.guards import find_caller
from webapp.web.sse import NamedEvents

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

# Of the two pages at this door, which have a style sheet and a font of ours and no script.
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)

REST = Door(
    name="rest",
    prefix="",
    find_caller=find_caller,
    write_error=json_error,
    events=NamedEvents(),
    headers=HEADERS,
    cross_origin=True,
    documented=True,
)
