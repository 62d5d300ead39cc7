"""The toolkits that come with Switchboard; an application adds its own with `Toolkit`."""

from __future__ import annotations

from webapp.agent.toolkits.calculator import calculator
from webapp.agent.toolkits.clock import clock
from webapp.agent.toolkits.http_get import http_get
from webapp.agent.toolkits.notes import notes

__all__ = ["calculator", "clock", "http_get", "notes"]
