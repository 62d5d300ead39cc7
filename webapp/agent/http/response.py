"""What a call to the model's server gives back: status, fields, and the body, whole or to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Response:
    """An answer. `pieces` is the body of a streamed one, after which `close` must be called;
    `content` that of any other. `fields` are by their names in small letters."""

    status: int
    fields: Mapping[str, str]
    content: bytes = b""
    pieces: Iterable[bytes] = ()
    close: Callable[[], None] = lambda: None

    @property
    def charset(self) -> str | None:
        """The character set named in the head."""
        named = self.fields.get("content-type", "").lower().partition("charset=")[2]
        return named.partition(";")[0].strip(" \"'") or None
