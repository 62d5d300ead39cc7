"""POST /api/tokens: a short-lived token for one user, so that a browser can call /chat itself."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response
from pydantic import Field

from webapp.accounts.tokens.tokens import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS
from webapp.web.answers import Token, answer
from webapp.web.binding import Shape, UserId, bind_json
from webapp.web.context import caller, services


class TokenRequest(Shape):
    """The body of POST /api/tokens."""

    user_id: UserId
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=1, le=MAX_TTL_SECONDS)


def issue() -> Response:
    """Signs a token whose `sub` is the user; the caller must be allowed to speak for them."""
    body = bind_json(TokenRequest)
    issued = services().tokens.issue(body.user_id, by=caller(), ttl_seconds=body.ttl_seconds)
    response = answer(
        Token,
        {
            "token": issued.token,
            "token_type": "Bearer",  # nosec B105  # as RFC 6750 names it
            "user_id": issued.user_id,
            "expires_in": issued.expires_in,
            "expires_at": datetime.fromtimestamp(issued.expires_at // 1000, UTC)
            .isoformat()
            .replace("+00:00", "Z"),
        },
    )
    response.headers["Cache-Control"] = "no-store"
    return response
