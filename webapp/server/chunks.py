"""Reads a chunked body: one that is malformed looks like a connection that broke in it.

So the application answers 400, as to any body that does not come whole, and the connection, of
which nobody knows where its next request begins, is closed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader

FREE_PIECES = 4096
BYTES_A_PIECE = 32


class Chunks:
    """A reader for gunicorn's body in the place of its own."""

    def __init__(self, reader: ChunkedReader) -> None:
        self._reader = reader
        if reader.parser is not None:
            reader.parser = _not_too_small(reader.parser)

    @property
    def is_whole(self) -> bool:
        """Whether the last chunk was read."""
        return self._reader.parser is None

    def read(self, size: int) -> bytes:
        try:
            content: bytes = self._reader.read(size)
        except errors.ParseException as error:
            raise ConnectionResetError("the chunks of the body are malformed") from error
        return content


def _not_too_small(pieces: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Each chunk costs work, however small: half a million of a byte each would be seconds."""
    size = 0
    for number, piece in enumerate(pieces):
        size += len(piece)
        if number > FREE_PIECES + size // BYTES_A_PIECE:
            raise errors.InvalidChunkSize(b"chunks of next to nothing")
        yield piece
