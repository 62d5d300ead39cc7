"""The addresses of a list: its filters, its sort, its pages. No rows are read here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class ListView:
    """Where a list stands: its path, its filters, its sort; it makes the links that change one.

    `params` are the query's filters without `cursor` and `sort`. `sort` is a column, with a
    hyphen in front when it runs from the largest down.
    """

    path: str
    params: Mapping[str, str]
    sort: str

    def url(self, **changes: str | None) -> str:
        """Return this view with some parameters changed; None or nothing drops one."""
        merged: dict[str, str | None] = {**self.params, "sort": self.sort, **changes}
        query = urlencode({name: value for name, value in merged.items() if value})
        return f"{self.path}?{query}" if query else self.path

    def sort_url(self, column: str, first: Literal["", "-"] = "-") -> str:
        """Return the link of a column's heading: first its usual direction, then the other."""
        usual, other = f"{first}{column}", column if first else f"-{column}"
        return self.url(sort=other if self.sort == usual else usual)

    def sorted_by(self, column: str) -> Literal["ascending", "descending", "none"]:
        """Return the value of `aria-sort` for a column."""
        if self.sort.lstrip("-") != column:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    @property
    def filtered(self) -> bool:
        """Return whether any filter narrows the list."""
        return any(self.params.values())


@dataclass(frozen=True, slots=True)
class Pages:
    """The links of a list's paging; None where there is no such page."""

    previous_url: str | None = None
    next_url: str | None = None
    first_url: str | None = None
