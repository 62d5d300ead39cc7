"""A database file that the system lets nobody write, also who has it open."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_writes(database: Path) -> Iterator[None]:
    """Refuses every write of the file and its log meanwhile; needs root."""
    # The index of the log is mapped into memory, as it is where the disk itself takes no writes.
    files = [database, database.with_name(f"{database.name}-wal")]
    subprocess.run(["chattr", "+i", *files], check=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)
