"""Compresses style sheets, scripts and drawings with gzip, and no pages: see `compression`."""

from __future__ import annotations

import gzip

from flask import Flask, Response, request

COMPRESSED_TYPES = frozenset({"text/css", "text/javascript", "image/svg+xml"})


def compression(app: Flask) -> None:
    """Compresses the files of `static/` once each.

    Pages hold a session's CSRF token beside what a visitor typed: compressed, their length would
    tell a listener, guess by guess, what the token is (the BREACH attack).
    """
    kept: dict[tuple[str, str], bytes] = {}

    @app.after_request
    def compress(response: Response) -> Response:
        if request.endpoint != "static" or response.mimetype not in COMPRESSED_TYPES:
            return response
        response.vary.add("Accept-Encoding")
        if response.status_code != 200 or not request.accept_encodings.quality("gzip"):
            return response
        etag, _ = response.get_etag()
        name = (request.path, etag or "")
        response.direct_passthrough = False
        plain = response.get_data()  # reads the file in any case, which also closes it
        if name not in kept:
            kept[name] = gzip.compress(plain, mtime=0)
        response.set_data(kept[name])
        response.headers["Content-Encoding"] = "gzip"
        response.headers.pop("Accept-Ranges", None)
        if etag:
            response.set_etag(etag, weak=True)  # the same file in another form
        return response
