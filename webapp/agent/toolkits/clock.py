"""The time of day in any zone, as a tool."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from webapp.agent.tools import ToolError, Toolkit
from webapp.clock import Clock, SystemClock


def clock(source: Clock | None = None) -> Toolkit:
    """The tool current_time; `source` is the machine's clock unless another is given."""
    times = SystemClock() if source is None else source

    def current_time(zone: str = "UTC") -> str:
        """Tell the date, the weekday and the time now.

        Args:
            zone: the IANA name of a time zone, such as Europe/Berlin or UTC
        """
        now = datetime.fromtimestamp(times.now_ms() / 1000, _zone(zone))
        return f"{now.isoformat(timespec='seconds')} ({now:%A}, {zone})"

    return Toolkit("clock", (current_time,))


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        # It needs no database, which a bare system may lack.
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ToolError(f"There is no time zone named '{name[:64]}'.") from None
