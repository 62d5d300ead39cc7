"""The windows of time that pages offer, and the figures of everyone over one."""

from __future__ import annotations

from typing import Literal

from webapp.usage.figures import EVERYONE, UsageSummary
from webapp.usage.summary import summary
from webapp.usage.windows import Window
from webapp.web.admin.figures.cache import figure_cache
from webapp.web.context import services

WindowName = Literal["1h", "24h", "7d", "30d"]
FRESH_SECONDS = 3.0


def everyone(window: Window) -> UsageSummary:
    """The window's figures over all tenants."""
    database, clock = services().database, services().clock

    def count() -> UsageSummary:
        now = clock.now_ms()
        return database.read_long(lambda connection: summary(connection, EVERYONE, window, now))

    found = figure_cache().get(("everyone", window.name), count, seconds=FRESH_SECONDS)
    return found if found is not None else count()
