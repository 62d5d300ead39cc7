"""Fills a fresh database with made-up tenants fast: rows in bulk, counters and sums that agree.

`python -m benchmarks.fill big.db --tenants 1000000 --messages 10000000`. The schema is the
project's own; what the tenants do is in `benchmarks.story`.
"""

import argparse
import json
import random
import sqlite3
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.story import Request, Story, stories
from webapp.periods import DAY_MS, HOUR_MS, MINUTE_MS, day_number, month_number
from webapp.storage import open_database
from webapp.usage.histogram import halved, percentile
from webapp.usage.retention import KEPT_MS, PRUNED

BATCH = 2000
REMEMBERED = 1000
REQUESTS_KEPT_MS = 7 * DAY_MS  # less than by default, so that the housekeeping finds no work

Sum = list[int]
Key = tuple[str, int, str, int]

_POOL = (
    "I would like to know where my parcel is, it should have come on Monday. "
    "Could you please check the address once more? Thank you, that was quick. "
    "What does the premium plan cost for a team of twelve, and can we change it later? "
    "Let me look into that for you: the order left our warehouse yesterday evening and the "
    "carrier expects to deliver it tomorrow before noon. Is there anything else I can do? "
    "The invoice shows two seats more than we use. I have corrected it and sent you a new one. "
) * 4


@dataclass(slots=True)
class Rows:
    """Rows of a batch of tenants, table by table."""

    tenants: list[tuple[object, ...]] = field(default_factory=list)
    sessions: list[tuple[object, ...]] = field(default_factory=list)
    messages: list[tuple[object, ...]] = field(default_factory=list)
    requests: list[tuple[object, ...]] = field(default_factory=list)
    usage: list[tuple[object, ...]] = field(default_factory=list)


class Sums:
    """The sums over time of one tenant, or of everyone."""

    __slots__ = ("_sums", "periods")

    def __init__(self, *periods: tuple[str, int, int]) -> None:
        self.periods = periods  # name, length and since when it is kept, in milliseconds
        self._sums: defaultdict[Key, Sum] = defaultdict(lambda: [0, 0, 0, 0, 0])

    def add(self, request: Request) -> None:
        """Count a request in every period that it falls into."""
        for name, length, since in self.periods:
            if request.at_ms >= since:
                at = request.at_ms - request.at_ms % length
                one = self._sums[name, at, request.code, request.bucket]
                one[0] += 1
                one[1] += request.status >= 500
                one[2] += request.status == 429
                one[3] += request.input_tokens
                one[4] += request.output_tokens

    def rows(self, tenant: int) -> Iterator[tuple[object, ...]]:
        """Return the sums as rows in the order of their key."""
        for (period, at, code, bucket), counted in sorted(self._sums.items()):
            yield (tenant, period, at, "request", code, bucket, *counted)


class Filler:
    """Writes stories into an empty database of the project's schema."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int, seed: int = 1) -> None:
        self._connection = connection
        self._now = now_ms
        self._chance = random.Random(seed)
        self._everyone = Sums(
            ("minute", MINUTE_MS, now_ms - KEPT_MS["minute"]),
            ("hour", HOUR_MS, now_ms - KEPT_MS["hour"]),
            ("day", DAY_MS, 0),
        )

    def write(self, told: Iterable[Story]) -> Iterator[int]:
        """Write the stories and yield the number of tenants written after each batch."""
        indexes = self._without_indexes()
        triggers = self._without_triggers()
        written = 0
        remaining = iter(told)
        self._connection.execute(f"CREATE TEMP TABLE arrived ({_REQUEST_COLUMNS})")
        while batch := list(islice(remaining, BATCH)):
            rows = Rows()
            for story in batch:
                self._add(story, rows)
            self._insert(rows)
            written += len(batch)
            yield written
        self._insert(Rows(usage=list(self._everyone.rows(0))))
        # Requests are numbered in the order of their arrival, whoever sent them.
        self._connection.execute(
            f"INSERT INTO requests ({_REQUEST_COLUMNS})"
            f" SELECT {_REQUEST_COLUMNS} FROM arrived ORDER BY at"
        )
        self._connection.execute("UPDATE usage_rollup SET through = (SELECT MAX(id) FROM requests)")
        self._connection.execute(
            "INSERT INTO meta (name, value) VALUES (?, ?)",
            (PRUNED, str(self._now - REQUESTS_KEPT_MS)),
        )
        self._connection.execute("DROP TABLE arrived")
        for statement in (*indexes, *triggers):
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO tenant_search (tenant_search) VALUES ('rebuild')")

    def _add(self, story: Story, rows: Rows) -> None:
        sums = Sums(("hour", HOUR_MS, self._now - KEPT_MS["hour"]), ("day", DAY_MS, 0))
        for request in story.requests:
            sums.add(request)
            self._everyone.add(request)
            if request.at_ms >= self._now - REQUESTS_KEPT_MS:
                rows.requests.append(self._request_row(story.number, request))
        rows.usage += sums.rows(story.number)
        turns = story.turns
        first, last = story.requests[0].at_ms, story.requests[-1].at_ms
        messages = 2 * len(turns)
        rows.tenants.append(self._tenant_row(story, messages))
        session = (story.number, story.number, "default", first, last, messages, messages)
        rows.sessions.append(session)
        for number, turn in enumerate(turns):
            asked, answered = turn.at_ms, turn.at_ms + turn.latency_ms
            seq = 2 * number + 1
            rows.messages.append((story.number, seq, self._id(), "user", self._text(120), asked))
            rows.messages.append(
                (story.number, seq + 1, self._id(), "assistant", self._text(300), answered)
            )

    def _tenant_row(self, story: Story, messages: int) -> tuple[object, ...]:
        requests = story.requests
        spent_in = sum(request.input_tokens for request in requests)
        spent_out = sum(request.output_tokens for request in requests)
        counts = dict(Counter(request.bucket for request in requests if request.bucket >= 0))
        while sum(counts.values()) > REMEMBERED:
            counts = halved(counts)
        first, last = requests[0].at_ms, requests[-1].at_ms
        day, month = day_number(last), month_number(last)
        return (
            story.number,
            story.user_id,
            first,
            last,
            messages,
            len(requests),
            sum(request.status >= 500 for request in requests),
            sum(request.status == 429 for request in requests),
            spent_in,
            spent_out,
            spent_in + spent_out,
            percentile(counts, 0.95) or 0,
            json.dumps(counts),
            last if story.blocked else None,
            day,
            sum(_tokens(request) for request in requests if day_number(request.at_ms) == day),
            month,
            sum(_tokens(request) for request in requests if month_number(request.at_ms) == month),
            len(story.turns),
        )

    def _request_row(self, tenant: int, request: Request) -> tuple[object, ...]:
        return (
            tenant,
            request.at_ms,
            "/chat",
            request.status,
            request.code,
            request.latency_ms,
            request.input_tokens,
            request.output_tokens,
            f"req-{self._chance.getrandbits(64):016x}",
        )

    def _insert(self, rows: Rows) -> None:
        self._connection.execute("BEGIN")
        for table, columns, values in (
            ("tenants", _TENANT_COLUMNS, rows.tenants),
            ("sessions", _SESSION_COLUMNS, rows.sessions),
            ("messages", _MESSAGE_COLUMNS, rows.messages),
            ("arrived", _REQUEST_COLUMNS, rows.requests),
            ("usage", _USAGE_COLUMNS, rows.usage),
        ):
            marks = ", ".join("?" for _ in columns.split(","))
            self._connection.executemany(
                f"INSERT INTO {table} ({columns}) VALUES ({marks})", values
            )
        self._connection.execute("COMMIT")

    def _without_indexes(self) -> list[str]:
        return self._drop("index", ("tenants", "requests", "usage"))

    def _without_triggers(self) -> list[str]:
        return self._drop("trigger", ("tenants",))

    def _drop(self, kind: str, tables: tuple[str, ...]) -> list[str]:
        # An index that is made at the end costs a fraction of one that is kept all along.
        marks = ", ".join("?" for _ in tables)
        found = self._connection.execute(
            f"SELECT name, sql FROM sqlite_master"
            f" WHERE type = ? AND tbl_name IN ({marks}) AND sql IS NOT NULL",
            (kind, *tables),
        ).fetchall()
        for name, _ in found:
            self._connection.execute(f"DROP {kind} {name}")
        return [statement for _, statement in found]

    def _id(self) -> str:
        h = f"{self._chance.getrandbits(128):032x}"
        return f"msg-{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"

    def _text(self, longest: int) -> str:
        at = int(self._chance.random() * (len(_POOL) - longest))
        return _POOL[at : at + 20 + int(self._chance.random() * (longest - 20))]


_TENANT_COLUMNS = (
    "id, user_id, created_at, last_active_at, message_count, request_count, error_count,"
    " refused_count, input_tokens, output_tokens, total_tokens, p95_ms, latency_histogram,"
    " blocked_at, budget_day, day_tokens, budget_month, month_tokens, turn"
)
_SESSION_COLUMNS = "id, tenant_id, session_id, created_at, last_active_at, message_count, last_seq"
_MESSAGE_COLUMNS = "session, seq, message_id, role, content, created_at"
_REQUEST_COLUMNS = (
    "tenant_id, at, route, status, code, latency_ms, input_tokens, output_tokens, request_id"
)
_USAGE_COLUMNS = (
    "tenant_id, period, at, measure, code, bucket, requests, errors, rate_limited,"
    " input_tokens, output_tokens"
)


def _tokens(request: Request) -> int:
    return request.input_tokens + request.output_tokens


def fill(path: Path, tenants: int, messages: int, now_ms: int, seed: int = 1) -> Iterator[int]:
    """Make the database at `path` and fill it; yield the number of tenants written so far.

    Raises FileExistsError when there is a file already.
    """
    yield from fill_with(path, stories(tenants, messages // 2, now_ms, seed), now_ms, seed)


def fill_with(path: Path, told: Iterable[Story], now_ms: int, seed: int = 1) -> Iterator[int]:
    """Do the same with stories of one's own, numbered from 1."""
    if path.exists():
        raise FileExistsError(f"{path} is there already; fill a new file")
    database = open_database(f"sqlite:///{path.absolute()}")
    database.upgrade()
    database.close()
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Nothing is lost if this fails half-way but the file, which is then made again.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000"):
            connection.execute(f"PRAGMA {pragma}")
        yield from Filler(connection, now_ms, seed).write(told)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def main() -> None:
    """Fill a new database file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fill", description=__doc__)
    parser.add_argument("path", type=Path, help="the new SQLite file")
    parser.add_argument("--tenants", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.perf_counter()
    try:
        now_ms = time.time_ns() // 1_000_000
        for written in fill(options.path, options.tenants, options.messages, now_ms, options.seed):
            if written % (50 * BATCH) == 0:
                print(f"{written:,} tenants, {time.perf_counter() - started:.0f} s", flush=True)
    except (FileExistsError, ValueError) as error:
        sys.exit(str(error))
    size = options.path.stat().st_size / 2**20
    print(
        f"{options.tenants:,} tenants and {options.messages:,} messages in "
        f"{time.perf_counter() - started:.0f} s, {size:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
