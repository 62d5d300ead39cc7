"""A server whose clock is an hour fast, by libfaketime in its processes alone.

A time namespace would not do: it shifts the monotonic clocks, and never the time of day. Under
libfaketime gevent and gunicorn run as they are. Its option that leaves the monotonic clocks alone
would not do either: version 0.9.10 then makes Python's `time.sleep` fail, and gunicorn's first
process ends. So they are an hour ahead too, which means nothing: no host's agree with another's.
The times of files stay right, because gunicorn sees by them that a worker lives.
"""

import time
from email.utils import parsedate_to_datetime
from pathlib import Path

from tests.server.running import Server

SECONDS = 3600


def ahead() -> dict[str, str]:
    """The environment of a server with such a clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        raise RuntimeError("this day needs the Debian package faketime")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": f"+{SECONDS}",
        "NO_FAKE_STAT": "1",
    }


def seconds_ahead(server: Server) -> int:
    """By how much the time of day in the server's answers is ahead of ours."""
    date = server.request("GET", "/healthz").headers["Date"]
    return round(parsedate_to_datetime(date).timestamp() - time.time())
