"""Which text can be stored and sent; one rule for people's words, models', tools' and imports."""

from __future__ import annotations


def is_storable(text: str) -> bool:
    """Whether the text holds neither a NUL nor half a surrogate pair.

    JSON can carry both as escapes, but UTF-8 has no surrogates and PostgreSQL's text no NUL.
    """
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """The text itself, or with U+FFFD where it holds a NUL or half a surrogate pair."""
    if is_storable(text):
        return text
    return (
        text.replace("\0", "\ufffd")
        .encode("utf-16-le", "surrogatepass")
        .decode("utf-16-le", "replace")
    )


def holds_storable(value: object) -> bool:
    """Whether each text in a value of JSON is storable, its names as well."""
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, dict):
        return all(is_storable(name) and holds_storable(each) for name, each in value.items())
    return not isinstance(value, list) or all(map(holds_storable, value))
