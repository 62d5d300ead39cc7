"""Measures a large database inside the process: lists, search, a tenant's page, one turn.

`python -m benchmarks.scale big.db` measures what `benchmarks.fill` made; without the file it fills
one first. It writes some turns of its own into it.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Latency, latency_of
from benchmarks.fill import fill
from webapp.errors import StorageUnavailable
from webapp.memory.paging.store import message_page
from webapp.messages import Message
from webapp.periods import DAY_MS
from webapp.storage import Connection, Database, open_database
from webapp.tenant_data.storing import store_messages, store_request
from webapp.tenants.listing.query import SORTS, TenantFilter, TenantQuery
from webapp.tenants.listing.store import page
from webapp.usage.figures import EVERYONE
from webapp.usage.records import RequestRecord
from webapp.usage.summary import summary
from webapp.usage.windows import WINDOWS

LIMIT_MS = 30.0
PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Timed:
    """One kind of work and how long its runs took."""

    title: str
    latency: Latency
    bound: bool = False

    def line(self) -> str:
        """Return the figures as a row of a Markdown table."""
        verdict = ""
        if self.bound:
            verdict = "reached" if self.latency.p95 <= LIMIT_MS else "missed"
        return (
            f"| {self.title} | {self.latency.p50:.2f} | {self.latency.p95:.2f} "
            f"| {self.latency.p99:.2f} | {self.latency.longest:.2f} | {verdict} |"
        )


class Scale:
    """The measurements, each run so many times, on one open database."""

    def __init__(self, database: Database, runs: int, now_ms: int, seed: int = 7) -> None:
        self._database = database
        self._runs = runs
        self._now = now_ms
        self._chance = random.Random(seed)
        with database.read() as connection:
            found = connection.execute("SELECT count(*), max(id) FROM tenants").fetchone()
        self.tenants, self._newest = int(found[0]), int(found[1])

    def measure(self, far_page: int) -> Iterator[Timed]:
        """Yield one result after the other; `far_page` is the number of the far page."""
        for sort in SORTS:
            query = TenantQuery(sort=sort, limit=PAGE_ROWS)
            yield self._page(f"tenants by {sort}, first page", query, bound=True)
            far = self._walk(query, far_page)
            if far is not None:
                yield self._page(f"tenants by {sort}, page {far_page:,}", far, bound=True)
        for title, chosen in self._filters():
            yield self._page(f"tenants, {title}", TenantQuery(filter=chosen, limit=PAGE_ROWS))
        yield self._timed("a tenant's first 50 messages", self._messages)
        for name in WINDOWS:
            yield self._timed(f"metrics of everyone, {name}", partial(self._metrics, name))
        yield self._timed(
            "metrics of a tenant, 30d",
            lambda c: summary(c, self._someone(), WINDOWS["30d"], self._now),
        )
        yield self._turns()

    def _filters(self) -> list[tuple[str, TenantFilter]]:
        some = self._someone()
        return [
            ("search 'acme' (one in 32)", TenantFilter(search="acme")),
            (f"search '{some:07d}' (one)", TenantFilter(search=f"{some:07d}")),
            ("search 'er' (half)", TenantFilter(search="er")),
            ("search of nothing there", TenantFilter(search="zzzzqqqq")),
            ("blocked", TenantFilter(blocked=True)),
            ("with errors", TenantFilter(has_errors=True)),
            ("active in 24 h", TenantFilter(active_within_ms=DAY_MS)),
            ("prefix org-acme-", TenantFilter(prefix="org-acme-")),
        ]

    def _page(self, title: str, query: TenantQuery, *, bound: bool = False) -> Timed:
        return self._timed(title, lambda c: page(c, query, self._now), bound=bound)

    def _walk(self, query: TenantQuery, pages: int) -> TenantQuery | None:
        """Go from page to page as a person would, and return the query of the far one."""
        for _ in range(pages - 1):
            with self._database.read() as connection:
                cursor = page(connection, query, self._now).following
            if cursor is None:
                return None
            query = TenantQuery(query.filter, query.sort, query.limit, cursor)
        return query

    def _messages(self, connection: Connection) -> object:
        return message_page(connection, self._someone(), None, PAGE_ROWS)

    def _metrics(self, window: str, connection: Connection) -> object:
        return summary(connection, EVERYONE, WINDOWS[window], self._now)

    def _turns(self) -> Timed:
        text = "It is the transaction of a turn: two messages, counters, sums over time. " * 2

        def turn() -> None:
            tenant = self._someone()
            messages = (Message.user(text), Message.assistant(text))
            record = RequestRecord(self._now, "/chat", 200, 812, "req-scale", "", None, 500, 50)

            def work(connection: Connection) -> None:
                store_messages(connection, tenant, "default", messages, 100, self._now)
                store_request(connection, tenant, record)

            self._database.write(work)

        return Timed("one turn's transaction, on disk", self._runs_of(turn))

    def _timed(
        self, title: str, work: Callable[[Connection], object], *, bound: bool = False
    ) -> Timed:
        def read() -> None:
            with self._database.read() as connection:
                work(connection)

        return Timed(title, self._runs_of(read), bound)

    def _runs_of(self, work: Callable[[], None]) -> Latency:
        taken: list[float] = []
        for _ in range(self._runs):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
        return latency_of(taken)

    def _someone(self) -> int:
        return self._chance.randint(1, self._newest)


def report(results: Sequence[Timed], heading: str) -> str:
    """Return the whole report."""
    lines = [
        heading,
        "",
        "| work | p50 ms | p95 ms | p99 ms | longest ms | p95 ≤ 30 ms |",
        "|---|--:|--:|--:|--:|---|",
    ]
    return "\n".join([*lines, *(one.line() for one in results)]) + "\n"


def main() -> None:
    """Measure a database file, filling it first where it is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--tenants", type=int, default=1_000_000, help="when it is filled here")
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--page", type=int, default=1000, help="the number of the far page")
    parser.add_argument("--output", type=Path, help="write the table to this Markdown file too")
    options = parser.parse_args()
    now_ms = time.time_ns() // 1_000_000
    if not options.path.exists():
        started = time.perf_counter()
        for _ in fill(options.path, options.tenants, options.messages, now_ms):
            pass
        print(f"filled in {time.perf_counter() - started:.0f} s", flush=True)
    database = open_database(f"sqlite:///{options.path.absolute()}")
    try:
        scale = Scale(database, options.runs, now_ms)
        results = []
        for one in scale.measure(options.page):
            results.append(one)
            print(one.line(), flush=True)
    except StorageUnavailable as error:
        sys.exit(f"{options.path}: {error.message}")
    finally:
        database.close()
    size = options.path.stat().st_size / 2**20
    command = " ".join(["python -m benchmarks.scale", *sys.argv[1:]])
    heading = f"`{command}`: {scale.tenants:,} tenants, {size:,.0f} MiB, {options.runs} runs each"
    if options.output:
        options.output.write_text(report(results, heading))
    missed = [one.title for one in results if one.bound and one.latency.p95 > LIMIT_MS]
    print(f"\n{heading}\np95 over {LIMIT_MS:.0f} ms: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
