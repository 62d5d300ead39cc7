"""Pages of tenants as people ask for them, with readable ids, encrypted at rest or not."""

from __future__ import annotations

from dataclasses import replace

from webapp.clock import Clock
from webapp.storage import Connection, Database
from webapp.tenants.listing import store as listing
from webapp.tenants.listing.query import MAX_LIMIT, TenantQuery, position_at
from webapp.tenants.listing.store import Page
from webapp.tenants.rows import TenantRow
from webapp.tenants.search import store as search
from webapp.tenants.user_ids.forms import UserIds

MAX_PAGES_READ = 25


class ReadableListing:
    """Translates ids on the way to the store and back.

    With encrypted ids a search finds the very id alone, and a prefix is looked for among the
    rows: such a page may be short, but it says where the next one begins.
    """

    def __init__(
        self, database: Database, user_ids: UserIds, clock: Clock, *, encrypted: bool
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self._encrypted = encrypted

    def page(self, query: TenantQuery) -> Page:
        """The page that the query asks for; all texts in it are readable ids or parts of them."""
        asked = query.filter
        if asked.matches_nothing:
            return Page(())
        if self._encrypted and asked.search:
            if asked.only not in (None, asked.search):
                return Page(())
            asked = replace(asked, search="", only=asked.search)
        if asked.only is not None:
            asked = replace(asked, only=self._user_ids.stored(asked.only))
        query = replace(query, filter=asked)
        if self._encrypted and asked.prefix:
            return self._with_prefix(query)
        # One or two characters have no index: such a search may read every id.
        return self._readable(self._read(query, long=0 < len(asked.search) < search.TRIGRAM))

    def _read(self, query: TenantQuery, *, long: bool = False) -> Page:
        def work(connection: Connection) -> Page:
            return listing.page(connection, query, self._clock.now_ms())

        if long:
            return self._database.read_long(work)
        with self._database.read() as connection:
            return work(connection)

    def _readable(self, page: Page) -> Page:
        return replace(
            page,
            rows=tuple(self._readable_row(row) for row in page.rows),
            exact=None if page.exact is None else self._readable_row(page.exact),
        )

    def _readable_row(self, row: TenantRow) -> TenantRow:
        return replace(row, user_id=self._user_ids.readable(row.user_id))

    def _with_prefix(self, query: TenantQuery) -> Page:
        prefix, wanted = query.filter.prefix, query.limit
        query = replace(query, filter=replace(query.filter, prefix=""), limit=MAX_LIMIT)
        found: list[TenantRow] = []
        for _ in range(MAX_PAGES_READ):
            page = self._read(query)
            for index, row in enumerate(page.rows):
                readable = self._readable_row(row)
                if readable.user_id.startswith(prefix):
                    found.append(readable)
                if len(found) == wanted:
                    last = index == len(page.rows) - 1 and page.following is None
                    return Page(
                        tuple(found), None if last else position_at(query, row, forward=True)
                    )
            query = replace(query, position=page.following)
            if page.following is None:
                break
        return Page(tuple(found), query.position)
