"""The toolkits that come with Switchboard; an application adds its own with `Toolkit`."""

from __future__ import annotations

from webapp.agent.toolkits.calculator import calculator
from webapp.agent.toolkits.clock import clock

__all__ = ["calculator", "clock"]
