"""Writes the figures that are only counted so far, before a route reads figures."""

from __future__ import annotations

from flask import request

from webapp.web.context import services


def write_pending_counts() -> None:
    """Refused requests are counted together and written later; a reader sees them all."""
    if request.method == "GET":
        services().chat.settle()
