"""Makes PostgreSQL's form of the house's SQL; what the SQL says is not here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MOST_KEPT = 1024

# What must be passed over (texts, names, casts, comments), and what is to be translated.
_PARTS = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|::|/\*.*?\*/|:([A-Za-z_]\w*)", re.DOTALL)
_OWN = re.compile(r"/\*pg (.*?)\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for the server, and the names of its parameters `$1`, `$2` and so on."""

    sql: bytes
    names: tuple[str, ...]


@lru_cache(maxsize=MOST_KEPT)
def statement_of(sql: str) -> Statement:
    """The statement behind SQL with `:name` parameters; what stands in `/*pg … */` belongs to
    it."""
    places: dict[str, int] = {}

    def numbered(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        return f"${places.setdefault(name, len(places) + 1)}"

    text = _PARTS.sub(numbered, _OWN.sub(r"\1", sql))
    return Statement(text.encode(), tuple(places))
