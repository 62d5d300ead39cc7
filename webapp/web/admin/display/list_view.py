"""The addresses of a list: its filters, its sort, its pages; and the way through all pages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar
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


Row = TypeVar("Row", covariant=True)
Place = TypeVar("Place", covariant=True)


class PageOf(Protocol[Row, Place]):
    """Some rows, and where the next ones begin; None at the end."""

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def following(self) -> Place | None: ...


def every_row(page_at: Callable[[Place | None], PageOf[Row, Place]]) -> Iterator[Row]:
    """The rows of all pages, each page read when it is needed.

    The first page is read at once, so that a fault still has a page of its own.
    """
    first = page_at(None)

    def rows() -> Iterator[Row]:
        page = first
        yield from page.rows
        while page.following is not None:
            page = page_at(page.following)
            yield from page.rows

    return rows()
