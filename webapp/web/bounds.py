"""How many fields a request may have, counted before anything is taken apart.

Parsing a field costs a thousand times as much as reading its bytes: half a million fields in a form
of one mebibyte would block the process for seconds. Sizes are bounded in middleware.py.
"""

from __future__ import annotations

import io
import re
from typing import IO, Any, Final

from flask import Flask, Request, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from webapp.errors import InvalidInput, TooManyFields, UnsupportedMediaType

MAX_QUERY_FIELDS: Final = 100
MAX_COOKIES: Final = 200
MAX_FORM_FIELDS: Final = 1000
MAX_JSON_ITEMS: Final = 10_000
MAX_STRANGERS_FORM_BYTES: Final = 64 * 1024

# A string that does not end reaches to the end, so that no byte is looked at twice.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def field_bounds(app: Flask) -> None:
    """Middleware: refuses by their number fields of the query, cookies, and those of forms."""
    app.request_class = BoundedRequest

    @app.before_request
    def check() -> None:
        environ = request.environ
        if environ.get("QUERY_STRING", "").count("&") >= MAX_QUERY_FIELDS:
            raise InvalidInput("The query has too many fields.", code="too_many_fields")
        if environ.get("HTTP_COOKIE", "").count(";") >= MAX_COOKIES:
            raise InvalidInput("There are too many cookies.", code="too_many_fields")


def require_few_items(body: bytes) -> None:
    """`TooManyFields` for JSON with too many values, wherever they are in it."""
    # Between two values stands a comma, and the parser itself bounds how deep they lie.
    if body.count(b",") < MAX_JSON_ITEMS:
        return
    if _STRING.sub(b"", body).count(b",") >= MAX_JSON_ITEMS:
        raise TooManyFields("The body has too many fields.")


class BoundedForms(FormDataParser):
    """Parses forms of few fields, and none with files."""

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        if mimetype == "multipart/form-data":
            raise UnsupportedMediaType("A form must be sent as application/x-www-form-urlencoded.")
        if mimetype != "application/x-www-form-urlencoded":
            return super().parse(stream, mimetype, content_length, options)
        most = self.max_form_memory_size
        if most is not None and content_length is not None and content_length > most:
            raise RequestEntityTooLarge
        body = stream.read()
        if body.count(b"&") >= MAX_FORM_FIELDS:
            raise TooManyFields("The form has too many fields.")
        return super().parse(io.BytesIO(body), mimetype, len(body), options)


class BoundedRequest(Request):
    """A request whose form is bounded."""

    form_data_parser_class = BoundedForms
