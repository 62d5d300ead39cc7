"""Binds a request's body or query to a declared shape; names the field that is wrong."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeVar

from flask import Request, request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from webapp.errors import InvalidInput, UnsupportedMediaType
from webapp.ids import MAX_ID_CHARS, check_session_id, check_user_id
from webapp.web.bounds import require_few_items
from webapp.web.context import current_request

_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "dict_type": "must be an object",
    "list_type": "must be a list",
}

_SPACES = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CONTROLS = r"\u0000-\u001f\u007f-\u009f"
# What ids.py checks, said again for those who read the OpenAPI document; the tests hold the two
# together.
IDENTIFIER_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_CHARS,
    "pattern": rf"^(?!\.\.?$)[^/{_CONTROLS}{_SPACES}]([^/{_CONTROLS}]*[^/{_CONTROLS}{_SPACES}])?$",
}
# Not empty, not white space alone, without NUL.
MESSAGE_PATTERN: Final = (
    rf"^[^\u0000]*[^\u0000\u0009-\u000d\u001c-\u001f\u0085{_SPACES}][^\u0000]*$"
)

# Not white space alone, without control characters.
TITLE_PATTERN: Final = rf"^[^{_CONTROLS}]*[^{_CONTROLS}{_SPACES}][^{_CONTROLS}]*$"


class Shape(BaseModel):
    """A declared shape of input: no unknown fields, no conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class QueryShape(BaseModel):
    """The same for a query string, where every value is text that must be converted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


BoundShape = TypeVar("BoundShape", bound=BaseModel)


def _checked(check: Any) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            check(value)
        except InvalidInput as error:
            raise PydanticCustomError("sentence", "{sentence}", {"sentence": str(error)}) from None
        return value

    return AfterValidator(validate)


UserId = Annotated[str, _checked(check_user_id), WithJsonSchema(IDENTIFIER_SCHEMA)]
SessionId = Annotated[str, _checked(check_session_id), WithJsonSchema(IDENTIFIER_SCHEMA)]


def bind_json(shape: type[BoundShape]) -> BoundShape:
    """The body as a `shape`; `InvalidInput` with the fields, or a 413 or 415."""
    body = _json_body()
    try:
        bound = shape.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    if _names_each_field_once(body, bound):
        return bound
    try:
        # pydantic takes the last of two fields of one name; a gateway in front may have looked
        # at the first. By now the body is not nested deeper than pydantic reads.
        _STRICT.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _invalid_json() from None
    return bound


def _names_each_field_once(body: bytes, bound: BaseModel) -> bool:
    """Whether that can be told without reading it once more: there is a colon for each field, and
    every pair has at least one. No number can be one of those that only Python takes for JSON."""
    return (
        body.count(b":") == len(bound.model_fields_set)
        and b"NaN" not in body
        and b"Infinity" not in body
    )


def json_object() -> dict[str, Any]:
    """The body as an object of any JSON; `InvalidInput`, or a 413 or 415."""
    body = _json_body()
    try:
        value = _WHOLE.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise _invalid_json() from None
    if not isinstance(value, dict):
        raise InvalidInput("The body must be a JSON object.")
    return value


def _json_body() -> bytes:
    """The whole body, which says that it is JSON and has few enough items."""
    asked = current_request()
    if not asked.is_json:
        raise UnsupportedMediaType("The body must be JSON, with Content-Type: application/json.")
    require_plain_body(asked)
    body = _whole_body(asked)
    require_few_items(body)
    return body


def require_plain_body(asked: Request) -> None:
    """415 for a compressed body: it could unpack to any size, so none is unpacked."""
    if asked.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed.")


def _whole_body(asked: Request) -> bytes:
    """The whole body. Werkzeug cuts a body without a length at the limit: that is a 413 too."""
    length, limit = asked.content_length, asked.max_content_length
    stream = asked.environ["wsgi.input"]
    if length is not None and limit is not None and length <= limit:
        # As werkzeug does it, without the five steps of its stream.
        try:
            known: bytes = stream.read(length)
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        if len(known) < length:
            raise ClientDisconnected
        return known
    body = asked.get_data(cache=False)
    if length is None and len(body) == limit and stream.read(1):
        raise RequestEntityTooLarge
    return body


def bind_query(shape: type[BoundShape]) -> BoundShape:
    """The query string as a `shape`; a name that comes twice is an error."""
    values: dict[str, str] = {}
    for name, texts in request.args.lists():
        if len(texts) > 1:
            sentence = f"{name} is given more than once"
            raise InvalidInput(sentence, fields={name: sentence})
        # An empty field of a form stands for one that was left out; a wrong name stays wrong.
        if texts[0] or name not in shape.model_fields:
            values[name] = texts[0]
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def require_no_query() -> None:
    """Refuses a query string: a `user_id` in it must not seem to have an effect."""
    if request.query_string:
        bind_query(_NoQuery)


class _NoQuery(QueryShape):
    """No field at all."""


def invalid(error: ValidationError) -> InvalidInput:
    """Our error for pydantic's, without the values that were sent."""
    fields: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=True, include_input=False):
        if fault["type"] == "json_invalid":
            return _invalid_json()
        if not fault["loc"]:
            return InvalidInput("The body must be a JSON object.")
        name = ".".join(str(part) for part in fault["loc"])[:100]
        fields.setdefault(name, _sentence(name, fault["type"], fault["msg"]))
    return InvalidInput(next(iter(fields.values())), fields=fields)


def _invalid_json() -> InvalidInput:
    return InvalidInput("The body is not valid JSON.", code="invalid_json")


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            sentence = f"{name[:100]} is given more than once"
            raise InvalidInput(sentence, fields={name[:100]: sentence})
        seen.add(name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_twice(pairs)
    return dict(pairs)


def _refuse_constant(name: str) -> None:
    """Python takes NaN and Infinity for JSON."""
    raise ValueError(name)


_STRICT: Final = json.JSONDecoder(object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant)
"""Looks, and gives nothing."""
_WHOLE: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)


def _sentence(name: str, kind: str, message: str) -> str:
    if kind == "sentence":
        return message
    reason = _REASONS.get(kind)
    if reason is None:
        reason = f"is wrong: {message[:1].lower()}{message[1:]}"
    return f"{name} {reason}"
