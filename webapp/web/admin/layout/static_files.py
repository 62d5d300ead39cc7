"""How long browsers may cache the files in `static/`, and the version in each file's address."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flask import Flask, Response, request

ENDPOINT = "static"
IMMUTABLE = "public, max-age=31536000, immutable"
VENDOR = "public, max-age=604800"


class Versions:
    """The first characters of each file's hash, which is read again when the file has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[int, str]] = {}

    def of(self, name: str) -> str | None:
        """The file's version; None when there is no such file."""
        path = self._folder / name
        try:
            changed = path.stat().st_mtime_ns
            known = self._known.get(name)
            if known is None or known[0] != changed:
                known = (changed, hashlib.sha256(path.read_bytes()).hexdigest()[:12])
                self._known[name] = known
        except OSError:
            return None
        return known[1]


def install(app: Flask) -> None:
    """Puts versions into the files' addresses, and says how long each answer may be cached."""
    versions = Versions(Path(app.static_folder or "static"))

    @app.url_defaults
    def with_version(endpoint: str, values: dict[str, Any]) -> None:
        # The style sheet names its fonts without a version, and a preload must name the same.
        if endpoint == ENDPOINT and not values["filename"].endswith(".woff2"):
            version = versions.of(values["filename"])
            if version is not None:
                values["v"] = version

    @app.after_request
    def cached(response: Response) -> Response:
        if request.endpoint == ENDPOINT and response.status_code in (200, 206, 304):
            name: str = (request.view_args or {})["filename"]
            if name.startswith("vendor/"):
                response.headers["Cache-Control"] = VENDOR
            elif request.args.get("v") == versions.of(name):
                response.headers["Cache-Control"] = IMMUTABLE
            else:
                response.headers["Cache-Control"] = "no-cache"
        return response
