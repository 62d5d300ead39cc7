"""Asks whether the embedded model answers; what it answers to questions is not here."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

PATIENCE = 1.0


def answers(base_url: str) -> bool:
    """Whether anything at this address answers HTTP within a second."""
    place = urlsplit(base_url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
