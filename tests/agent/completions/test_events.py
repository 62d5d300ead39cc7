"""Tests of how the objects in an answer's bytes are found, however they are framed and cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.agent.completions.events import EventReader, Object, objects

ONE, TWO = {"n": 1}, {"n": 2}
LINES = "one\u2028two\u2029three\u0085four\x0b\x0c\x1c"


def read(body: bytes, cuts: list[int] | None = None) -> tuple[list[Object], bool]:
    """The objects of a body that comes in pieces, and whether the server told its end."""
    reader = EventReader()
    places = [0, *sorted({cut % (len(body) + 1) for cut in cuts or []}), len(body)]
    found: list[Object] = []
    for start, end in pairwise(places):
        if not reader.ended:
            found += reader.feed(body[start:end])
    return found + reader.end(), reader.ended


def data(value: object, end: bytes = b"\n") -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + end + end


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_at_each_of_the_three_ends(end: bytes) -> None:
    body = data(ONE, end) + data(TWO, end) + b"data: [DONE]" + end + end
    assert read(body) == ([ONE, TWO], True)


def test_lines_end_nowhere_else() -> None:
    assert read(data({"text": LINES})) == ([{"text": LINES}], False)


@pytest.mark.parametrize(
    "beat",
    [
        b"data:\n\n",
        b"data: \n\n",
        b"data\n\n",
        b"data: null\n\n",
        b"data: {}\n\n",
        b"data: []\n\n",
        b'data: ""\n\n',
        b"data: 0\n\n",
        b"data: ping\n\n",
        b": comment\n\n",
        b":\n\n",
        b"\n\n\n",
        b"retry: 3000\n\n",
        b"id\nevent\n\n",
        b"id: 7\nevent: message\n",
        b'event: ping\ndata: {"type": "ping"}\n\n',
    ],
)
def test_what_keeps_the_line_alive_says_nothing(beat: bytes) -> None:
    body = beat + data(ONE) + beat + data(TWO) + beat + b"data: [DONE]\n\n"
    found, ended = read(body)
    assert [each for each in found if each not in ({}, {"type": "ping"})] == [ONE, TWO]
    assert ended


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"n":\ndata: 1}\n\n',
        b'data:{"n":1}\n\n',
        b'data:  {"n": 1}\n\n',
        b'data: {"n": 1}\n',
        b'data: {"n": 1}',
        b'data: {"n":\ndata: 1}',
        b'\xef\xbb\xbfdata: {"n": 1}\n\n',
        b'event: chunk\ndata: {"n": 1}\nid: 3\n\n',
        b'{"n": 1}',
        b'\xef\xbb\xbf{"n": 1}\n',
        b'\r\n \n{"n": 1}\n\n',
        b'{\n  "n": 1\n}\n',
        b'{"n": 1}\ndata: [DONE]\n\n',
        b'[{"n": 1}]',
        b'[{\n"n": 1}\n]\n',
        b'data: [{"n": 1}]\n\n',
    ],
)
def test_one_object_is_found_in_each_frame(body: bytes) -> None:
    assert objects(body)[0] == [ONE]


def test_events_without_blank_lines_between_are_events() -> None:
    assert read(b'data: {"n": 1}\ndata: {"n": 2}\n')[0] == [ONE, TWO]
    assert read(b'{"n": 1}\n{"n": 2}\n')[0] == [ONE, TWO]


@pytest.mark.parametrize("word", ["[DONE]", '"[DONE]"', "[done]", "DONE", " [DONE] "])
@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n\r\n"])
def test_nothing_is_read_after_the_end(word: str, end: str) -> None:
    body = data(ONE) + f"data:{word}{end}".encode()
    assert read(body)[0] == [ONE]
    if end:
        assert read(body + data(TWO)) == ([ONE], True)


def test_an_event_that_is_called_an_error_is_one() -> None:
    assert read(b'event: error\ndata: {"message": "x"}\n\n')[0] == [{"error": {"message": "x"}}]
    assert read(b'event: error\ndata: {"error": "x"}\n\n' + data(ONE))[0] == [{"error": "x"}, ONE]


@pytest.mark.parametrize(
    "body",
    [
        b"event: error\ndata: it broke\n\n",
        b'error: {"message": "it broke"}\n\n',
        b"error: it broke\n\n",
        b"data: Error: it broke\n\n",
        b"data: [ERROR] it broke\n\n",
        b"data: Internal Server Error\n\n",
    ],
)
def test_a_fault_in_words_is_no_heartbeat(body: bytes) -> None:
    found, reader = objects(body + b"data: [DONE]\n\n")
    assert [bool(each["error"]) for each in found] == [True]
    assert reader.ended


@pytest.mark.parametrize("frame", [b"data: data: %b\n\n", b"data:data:%b\n\n", b"Data: %b\n\n"])
def test_an_event_in_a_frame_too_many_is_one(frame: bytes) -> None:
    assert objects(frame % b'{"a": 1}')[0] == [{"a": 1}]


@pytest.mark.parametrize("body", [b"data: {rubbish\n\n", b"data: {rubbish", b"data: [{]\n\n"])
def test_what_begins_like_json_and_is_none_is_a_fault(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(body)


@pytest.mark.parametrize("body", [b"", b"<html>a page</html>", b"Not Found", b"\xff\xfe\x00", b"7"])
def test_a_page_has_no_objects(body: bytes) -> None:
    assert read(body) == ([], False)


def test_the_charset_of_the_head_is_only_tried_where_the_text_is_not_utf_8() -> None:
    said = {"text": "Grüße — ok"}
    assert objects(data(said), "iso-8859-1")[0] == [said]
    latin = b'data: {"text": "Gr\xfc\xdfe"}\n\n'
    assert objects(latin, "iso-8859-1")[0] == [{"text": "Grüße"}]
    assert objects(latin, "no-such-charset")[0] == [{"text": "Gr\ufffd\ufffde"}]
    assert objects(latin)[0] == [{"text": "Gr\ufffd\ufffde"}]


def test_a_long_line_in_many_pieces_is_read_in_time_that_grows_with_its_length() -> None:
    reader = EventReader()
    said = {"text": "x" * 2_000_000}
    body = data(said)
    found = [each for i in range(0, len(body), 40) for each in reader.feed(body[i : i + 40])]
    assert found == [said]


VALUES = st.dictionaries(
    st.sampled_from(["text", "n", "ü\u2028"]),
    st.text(max_size=12) | st.integers(0, 9) | st.sampled_from([LINES, "🙂", "\r\n", "data: x"]),
    min_size=1,
    max_size=3,
)
BEATS = st.sampled_from([b"", b": hm\n\n", b"data:\n\n", b"event: x\n", b"retry: 1\n\n", b"\n"])


@given(
    st.lists(st.tuples(VALUES, BEATS, st.booleans()), max_size=6),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.lists(st.integers(0, 2000), max_size=30),
    st.booleans(),
)
def test_any_cut_gives_the_same_objects(
    events: list[tuple[Object, bytes, bool]], end: bytes, cuts: list[int], mark: bool
) -> None:
    body = b"\xef\xbb\xbf" if mark else b""
    for value, beat, several in events:
        text = json.dumps(value, ensure_ascii=False, indent=1 if several else None)
        rows = b"".join(b"data: " + row.encode() + b"\n" for row in text.split("\n"))
        body += (beat + rows + b"\n").replace(b"\n", end)
    body += b"data: [DONE]\n\n".replace(b"\n", end)
    expected = ([value for value, _, _ in events], True)
    assert read(body) == expected
    assert read(body, cuts) == expected
    assert read(body, list(range(len(body)))) == expected
