"""Downloads: CSV that a spreadsheet takes for text, JSON, and names of files; all streamed."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from flask import Response

# Source: OWASP, "CSV Injection". Compared after NFKC, which makes of the full-width, small and
# raised forms the plain ones; some programs do the same.
FORMULA_BEGINS = frozenset("=+-@\u2212|%")
BREAKS = ("\t", "\r", "\n")
# Letters by their category, and blank to the eye.
FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
# Where another cell begins for a program that separates them by semicolons, as many countries do.
_ELSEWHERE = re.compile(r"(?<=;)|(?<=.[\t\r\n])", re.DOTALL)
LINES_AT_ONCE = 200


def cell(value: object) -> object:
    """A cell that cannot be taken for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return "" if value is None else value
    first, *others = _ELSEWHERE.split(value)
    if first.startswith(BREAKS) or _begins_a_formula(first):
        first = "'" + first
    return first + "".join("'" + text if _begins_a_formula(text) else text for text in others)


def _begins_a_formula(text: str) -> bool:
    """Whether the first character that can be seen does: programs drop what stands before it."""
    for char in text:
        if not _is_blank(char):
            return unicodedata.normalize("NFKC", char)[:1] in FORMULA_BEGINS
    return False


def _is_blank(char: str) -> bool:
    """White space, control and format characters, marks without a letter, fillers."""
    return unicodedata.category(char)[0] in "ZCM" or char in FILLERS


def csv_download(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """The rows as a CSV file (RFC 4180)."""

    def lines() -> Iterator[bytes]:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(head)
        for number, row in enumerate(rows, start=1):
            writer.writerow([cell(value) for value in row])
            if number % LINES_AT_ONCE == 0:
                yield _taken(buffer)
                time.sleep(0)  # other requests of this process go on between two pieces
        yield _taken(buffer)

    return download(name, "text/csv; charset=utf-8", lines())


def json_download(name: str, key: str, rows: Iterable[object]) -> Response:
    """The rows as the list under `key` of one JSON object."""

    def pieces() -> Iterator[bytes]:
        before = f'{{"{key}":['.encode()
        for number, row in enumerate(rows, start=1):
            yield before + json.dumps(row, ensure_ascii=False).encode()
            before = b",\n"
            if number % LINES_AT_ONCE == 0:
                time.sleep(0)
        yield (before if before.startswith(b"{") else b"") + b"]}\n"

    return download(name, "application/json", pieces())


def download(name: str, content_type: str, body: Iterator[bytes]) -> Response:
    """A streamed file of this name, in any script (RFC 6266)."""
    plain = "".join(char if char.isascii() and char.isalnum() else "-" for char in name)[:100]
    stem, _, ending = name.rpartition(".")
    plain = f"{plain[: -len(ending) - 1] if stem else plain}.{ending}" if ending else plain
    return Response(
        body,
        content_type=content_type,
        headers={
            "Content-Disposition": (
                f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
            )
        },
    )


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode("utf-8", "replace")
