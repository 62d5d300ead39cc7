"""Lines out of blocks and blocks out of lines, byte for byte."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from webapp.web import pacing
from webapp.web.pacing import blocks_of, lines_of, paced

LONGEST = 20


class Dribble:
    """A stream that gives as much at a time as it likes."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content = io.BytesIO(content)
        self._sizes = sizes

    def read(self, most: int) -> bytes:
        return self._content.read(min(most, self._sizes.pop() if self._sizes else most))


texts = st.lists(st.binary(max_size=LONGEST - 1).map(lambda b: b.replace(b"\n", b"\r"))).map(
    b"\n".join
)


@given(texts, st.lists(st.integers(1, 9)))
def test_lines_are_the_same_however_the_bytes_come(content: bytes, sizes: list[int]) -> None:
    lines = list(lines_of(Dribble(content, sizes).read, LONGEST))
    assert lines == list(io.BytesIO(content))


def test_a_line_that_is_too_long_is_known_for_one_and_ends_the_reading() -> None:
    stream = io.BytesIO(b"a\n" + b"b" * 1_000_000 + b"\nc\n")
    first, second = lines_of(stream.read, LONGEST)
    assert (first, len(second)) == (b"a\n", LONGEST + 1)
    assert stream.tell() <= pacing.BLOCK_BYTES


def test_a_long_line_within_a_block_is_left_to_who_reads_it() -> None:
    lines = list(lines_of(io.BytesIO(b"b" * 100 + b"\nc\n").read, LONGEST))
    assert [len(line) > LONGEST for line in lines] == [True, False]


@given(st.lists(st.binary(max_size=50)))
def test_blocks_hold_every_line(lines: list[bytes]) -> None:
    assert b"".join(blocks_of(lines)) == b"".join(lines)


def test_blocks_are_of_the_size_that_is_sent_at_once() -> None:
    blocks = list(blocks_of(b"x" * 1000 for _ in range(1000)))
    assert all(pacing.SENT_BYTES <= len(block) < pacing.SENT_BYTES + 1000 for block in blocks[:-1])


def test_pacing_changes_nothing() -> None:
    assert list(paced(range(10_000))) == list(range(10_000))
