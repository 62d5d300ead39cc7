"""What the openai package's client knows of its server, in the form that we send requests with."""

from __future__ import annotations

import httpx2


def whole_address(base_url: httpx2.URL, path: str) -> str:
    """The address of a path under the base URL, its query included.

    It is whole because the client parses a relative one three times for each request, and it is
    not the client's own, which puts its slash behind the query: into the query's last value.
    """
    base, mark, query = str(base_url).partition("?")
    return f"{base.rstrip('/')}/{path}" + (f"?{query.removesuffix('/')}" if mark else "")
