"""Long work in small pieces: lines out of blocks of bytes and back, with pauses for the others.

Under the event loop a computation stops every other request; long work is done in slices of
milliseconds, with pauses for the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

BLOCK_BYTES = 256 * 1024
SENT_BYTES = 64 * 1024
SLICE_SECONDS = 0.003
# A pause of no length would not do: gevent comes back from fifty of them before it looks whether
# anybody else has something to say.
PAUSE_SECONDS = 0.0001


def paced(items: Iterable[Item]) -> Iterator[Item]:
    """The same items; the consumer pauses for other requests every few milliseconds."""
    began = time.monotonic()
    for item in items:
        yield item
        if time.monotonic() - began > SLICE_SECONDS:
            time.sleep(PAUSE_SECONDS)
            began = time.monotonic()


def lines_of(read: Callable[[int], bytes], longest: int) -> Iterator[bytes]:
    """Lines with their line feeds, from something that is read in blocks.

    One that is longer than `longest` is given up to there and one byte more, by which it is
    known; nothing comes after it.
    """
    rest = bytearray()
    while block := read(BLOCK_BYTES):
        *whole, last = block.split(b"\n")
        for line in whole:
            yield bytes(rest) + line + b"\n" if rest else line + b"\n"
            rest.clear()
        rest += last
        if len(rest) > longest:
            yield bytes(rest[: longest + 1])
            return
    if rest:
        yield bytes(rest)


def blocks_of(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines put together, so that not each of them is sent by itself."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= SENT_BYTES:
            yield b"".join(gathered)
            gathered.clear()
            size = 0
    if gathered:
        yield b"".join(gathered)
