"""Whether a worker that stands still, because it got SIGSTOP, holds up the others.

The lock of a SQLite file is the kernel's, and stays with who was stopped in the midst of a write:
until it goes on or ends nobody else writes. Told by /proc, so on Linux alone.
"""

from __future__ import annotations

from pathlib import Path

PROCESSES = Path("/proc")
LOCKS = Path("/proc/locks")


def holds_up_others(pid: int) -> bool:
    """Whether the process is stopped and has the lock of those who write a SQLite file."""
    try:
        return _is_stopped(pid) and not _written_by(pid).isdisjoint(_wal_indexes_of(pid))
    except (OSError, ValueError):
        return False  # it has ended just now, or there is no /proc


def _is_stopped(pid: int) -> bool:
    # The name, in brackets, may hold anything.
    return (PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def _written_by(pid: int) -> set[int]:
    """The inodes of files on which it holds a lock for writing."""
    found = set()
    for line in LOCKS.read_text().splitlines():
        # 7: POSIX  ADVISORY  WRITE 4711 fe:00:2148857 120 120
        fields = line.split()
        if fields[1:4:2] == ["POSIX", "WRITE"] and fields[4] == str(pid):
            found.add(int(fields[5].rpartition(":")[2]))
    return found


def _wal_indexes_of(pid: int) -> set[int]:
    """The inodes of the files by which SQLite's users agree who may write."""
    found = set()
    for entry in (PROCESSES / str(pid) / "fd").iterdir():
        if entry.readlink().name.endswith("-shm"):
            found.add(entry.stat().st_ino)
    return found
