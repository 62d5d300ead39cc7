"""Lets pages of the origins in CORS_ORIGINS call the doors that are open to other origins."""

from __future__ import annotations

from flask import Flask, Response, request

from webapp.web.context import EXTENSION, context

ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, X-Request-Id"
)
EXPOSED_HEADERS = (
    "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, ETag"
)
PREFLIGHT_SECONDS = "600"


def cors(app: Flask) -> None:
    """Answers preflights and marks answers, for the named origins and no others."""
    origins = frozenset(app.extensions[EXTENSION].settings.cors_origins)
    if not origins:
        return

    def allowed_origin() -> str | None:
        origin = request.headers.get("Origin")
        if origin is None or not context().door.cross_origin:
            return None
        return origin if origin in origins or "*" in origins else None

    @app.before_request
    def preflight() -> Response | None:
        asks = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        return Response(status=204) if asks and allowed_origin() else None

    @app.after_request
    def mark(response: Response) -> Response:
        # Twice as dear through `response.vary`, and most answers vary with nothing else.
        if "Vary" in response.headers:
            response.vary.add("Origin")
        else:
            response.headers["Vary"] = "Origin"
        origin = allowed_origin()
        if origin is None:
            return response
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
            response.headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = PREFLIGHT_SECONDS
        return response
