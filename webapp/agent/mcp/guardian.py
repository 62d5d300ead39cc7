"""Ends the servers of a program that has died, whatever way it died; run as a script of its own.

The program writes a line with `+` and a number when it starts a server, in a process group of that
number, and with `-` when the server has ended. When the program is gone, the pipe from it ends,
and all groups that are left are asked to end, and then made to.
"""

from __future__ import annotations

import os
import signal
import sys
import time

PATIENCE_SECONDS = 1.0


def main() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        number = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(number)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if groups and number == signal.SIGKILL:
            time.sleep(PATIENCE_SECONDS)
        for group in list(groups):
            try:
                os.killpg(group, number)
            except OSError:
                groups.discard(group)


if __name__ == "__main__":
    main()
