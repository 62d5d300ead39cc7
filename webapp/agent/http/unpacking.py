"""Unpacks compressed answers in pieces of a bounded size; how many there may be is the reader's.

A few kilobytes can unpack to gigabytes: what unpacks a whole packet at once has them in memory
before anybody can count.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

ACCEPTED = b"gzip, deflate"
PIECE = 64 * 1024
GZIP = 16 + zlib.MAX_WBITS


class CannotUnpack(ValueError):
    """The answer is packed in a way that was not asked for, or is damaged."""


def unpacked(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """The pieces in `chunks` without their Content-Encoding. Raises `CannotUnpack`."""
    match coding.strip().lower():
        case "" | "identity":
            yield from chunks
        case "gzip" | "x-gzip":
            yield from _inflated(chunks, GZIP)
        case "deflate":
            begin, chunks = _with_first(chunks, 2)
            yield from _inflated(chunks, zlib.MAX_WBITS if _is_wrapped(begin) else -zlib.MAX_WBITS)
        case _:
            raise CannotUnpack("a coding that was not asked for")


def _with_first(chunks: Iterable[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes to look at, and all of them again."""
    rest, begin = iter(chunks), b""
    while len(begin) < size and (chunk := next(rest, b"")):
        begin += chunk
    return begin, chain((begin,), rest)


def _is_wrapped(begin: bytes) -> bool:
    """Whether it is what RFC 9110 means by "deflate"; many servers leave the wrapper out."""
    return len(begin) > 1 and begin[0] & 15 == zlib.DEFLATED and not (begin[0] << 8 | begin[1]) % 31


def _inflated(chunks: Iterable[bytes], form: int) -> Iterator[bytes]:
    packed = zlib.decompressobj(form)
    members = 0
    for chunk in chunks:
        rest, piece = chunk, b""
        # A whole piece may leave more of it inside, when nothing is left to put in.
        while rest or len(piece) == PIECE:
            if packed.eof:  # several members, one behind the other
                packed, members = zlib.decompressobj(form), members + 1
            try:
                piece = packed.decompress(rest, PIECE)
            except zlib.error as error:
                if members:
                    return  # padding behind the end, which unpackers leave alone
                raise CannotUnpack("the packed answer is damaged") from error
            if piece:
                yield piece
            rest = packed.unused_data if packed.eof else packed.unconsumed_tail
            if packed.eof and not rest:
                break
