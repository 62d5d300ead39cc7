"""The copy itself: what is there already is compared, what is missing is written, all is verified.

Nothing is remembered of how far a copy has come. Each run walks both sides in the order of their
keys and writes only what differs, so it may be killed at any moment and run again, and a second
run takes over what the source was told meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from webapp.errors import Conflict, SchemaOutOfDate, StorageUnavailable
from webapp.redaction import redacted_url
from webapp.storage import unfinished
from webapp.storage.copying import statements
from webapp.storage.copying.changes import Batch, Change, differences
from webapp.storage.copying.digest import Digest, Summing, digest_of
from webapp.storage.copying.engines import engine_of
from webapp.storage.copying.tables import Pair, Row, Table, pairs
from webapp.storage.database import Connection, Database

Progress = Callable[[str, int, int], None]
"""Is told what is done ("Copying", "Verifying"), how many rows of it, and of how many."""

ROUNDS = 3
# What a fresh schema holds by itself, or what a first start writes.
NOT_LOOKED_AT = frozenset({"audit_head", "latency_buckets", "meta", "usage_rollup"})


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """One table that is the same on both sides."""

    name: str
    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy that is finished has found and done."""

    tables: tuple[CopiedTable, ...]
    resumed: bool
    """An earlier run was interrupted."""
    found: int
    """Rows that were there already, from that run."""
    made_schema: bool


def copy(source: Database, target: Database, progress: Progress | None = None) -> CopyReport:
    """Makes the target hold what the source holds, row by row, and verifies it.

    The target must be empty, or hold a copy of this source, finished or not (`Conflict` otherwise).
    Both must have this version's schema; a target without any is given it. The source is read as
    it is at one moment; what it is told meanwhile is copied behind. When it does not come to rest
    `StorageUnavailable` says what still changes, and the copy stays unfinished.
    """
    return _Copy(source, target, progress or (lambda _what, _done, _of: None)).run()


class _Copy:
    """One run."""

    def __init__(self, source: Database, target: Database, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._from = engine_of(source)
        self._to = engine_of(target)
        self._progress = progress
        self._found = 0
        self._done = 0
        self._total = 0

    def run(self) -> CopyReport:
        self._require_source()
        made_schema = self._prepare_target()
        with self._source.read() as here, self._target.read() as there:
            tables = pairs(self._from.tables(here), self._to.tables(there))
        resumed = self._begin(tables)
        if resumed is None:
            return self._require_the_same(tables)
        kept: dict[str, Digest] = {}
        behind = tables
        found: int | None = None
        for _ in range(ROUNDS):
            kept |= self._copy(behind)
            found = self._found if found is None else found
            self._verify_target(tables, kept)
            behind = self._changed(tables, kept)
            if not behind:
                break
        else:
            changed = ", ".join(pair.name for pair in behind)
            raise StorageUnavailable(
                f"The source is still being written: {changed} changed while it was copied. Stop"
                " every server of it and run the same command again; only what differs is copied."
            )
        self._target.write(unfinished.take)
        return CopyReport(_copied(tables, kept), resumed, found or 0, made_schema)

    # -- what may be copied into what ---------------------------------------------------------

    def _require_source(self) -> None:
        if self._source.url == self._target.url:
            raise Conflict("The source and the target are the same database.")
        with _about("source"):
            if self._from.is_new(self._source):
                raise StorageUnavailable("there is no installation in it, so nothing to copy.")
            self._source.check()
            unfinished.require_no_unfinished_copy(self._source)

    def _prepare_target(self) -> bool:
        """Gives a schema to a target that has none; True when it did."""
        with _about("target"):
            if self._to.is_new(self._target):
                self._target.upgrade()
                return True
            self._target.check()
            return False

    def _begin(self, tables: list[Pair]) -> bool | None:
        """Notes in the target that it is a part from here on; True when it was one before, None
        when it holds something that is no part of a copy."""
        source = redacted_url(self._source.url)

        def work(connection: Connection) -> bool | None:
            begun = unfinished.read(connection)
            if begun is not None and begun != source:
                raise Conflict(
                    f"The target holds an unfinished copy of another source, {begun}; name an"
                    " empty database."
                )
            if begun is not None:
                return True
            if _held(connection, tables):
                return None
            unfinished.put(connection, source)
            return False

        return self._target.write(work)

    def _require_the_same(self, tables: list[Pair]) -> CopyReport:
        """The target is a copy already, made by an earlier run, or it is another's (`Conflict`)."""
        held = self._target.read_long(lambda connection: self._target_digests(connection, tables))
        if self._changed(tables, held):
            with self._target.read() as connection:
                names = ", ".join(_held(connection, tables))
            raise Conflict(
                f"The target holds something already, in {names}, and it is not what the source"
                " holds now; name an empty database."
            )
        return CopyReport(_copied(tables, held), False, sum(d.rows for d in held.values()), False)

    # -- copying --------------------------------------------------------------------------------

    def _copy(self, tables: list[Pair]) -> dict[str, Digest]:
        """Writes what differs; gives what the source held, all at one moment."""

        def work(connection: Connection) -> dict[str, Digest]:
            self._begin_progress(connection, [pair.source for pair in tables])
            kept = {pair.name: self._copy_table(connection, pair) for pair in tables}
            numbers = self._from.numbers(connection)
            self._target.write(lambda there: self._to.raise_numbers(there, numbers))
            return kept

        return self._source.read_long(work)

    def _copy_table(self, connection: Connection, pair: Pair) -> Digest:
        summing = Summing()

        def wanted() -> Iterator[Row]:
            for row in self._from.rows(connection, statements.select(pair.source, pair.form)):
                summing.add(row)
                self._advance("Copying")
                yield row

        if self._is_empty(pair.target):
            # Nothing to compare with, so the target is not read for as long as it is written.
            self._write(pair, differences(pair.form, wanted(), ()))
        else:
            self._target.read_long(
                lambda there: self._write(
                    pair, differences(pair.form, wanted(), self._target_rows(there, pair))
                )
            )
        return summing.digest()

    def _write(self, pair: Pair, changes: Iterator[Change]) -> None:
        batch = Batch(pair, self._to.takes_nul)
        for change in changes:
            if change.there is not None and change.there == change.wanted:
                self._found += 1
            batch.add(change)
            if batch.is_full:
                batch.write_into(self._target)
                batch = Batch(pair, self._to.takes_nul)
        batch.write_into(self._target)

    def _is_empty(self, table: Table) -> bool:
        with self._target.read() as connection:
            return connection.execute(statements.first(table), {}).fetchone() is None

    def _target_rows(self, connection: Connection, pair: Pair) -> Iterator[Row]:
        return self._to.rows(connection, statements.select(pair.target, pair.form))

    # -- verifying ------------------------------------------------------------------------------

    def _verify_target(self, tables: list[Pair], kept: dict[str, Digest]) -> None:
        """Raises `StorageUnavailable` when the target does not hold what was written."""
        held = self._target.read_long(lambda connection: self._target_digests(connection, tables))
        wrong = [pair.name for pair in tables if held[pair.name] != kept[pair.name]]
        if wrong:
            raise StorageUnavailable(
                f"The target does not hold what was written into it: {', '.join(wrong)}. Does"
                " another program use it? Stop that, and run the same command again."
            )

    def _target_digests(self, connection: Connection, tables: list[Pair]) -> dict[str, Digest]:
        self._begin_progress(connection, [pair.target for pair in tables])
        return {
            pair.name: digest_of(self._seen(self._target_rows(connection, pair))) for pair in tables
        }

    def _changed(self, tables: list[Pair], kept: dict[str, Digest]) -> list[Pair]:
        """The tables that are not any more what they were when they were read."""

        def work(connection: Connection) -> list[Pair]:
            self._begin_progress(connection, [pair.source for pair in tables])
            return [
                pair
                for pair in tables
                if digest_of(
                    self._seen(
                        self._from.rows(connection, statements.select(pair.source, pair.form))
                    )
                )
                != kept[pair.name]
            ]

        return self._source.read_long(work)

    # -- progress -------------------------------------------------------------------------------

    def _begin_progress(self, connection: Connection, tables: list[Table]) -> None:
        self._done = 0
        self._total = sum(
            connection.execute(statements.count(table), {}).fetchone()[0] for table in tables
        )

    def _seen(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self._advance("Verifying")
            yield row

    def _advance(self, what: str) -> None:
        self._done += 1
        if self._done % 1000 == 0 or self._done == self._total:
            self._progress(what, self._done, self._total)


def _copied(tables: list[Pair], kept: dict[str, Digest]) -> tuple[CopiedTable, ...]:
    return tuple(
        CopiedTable(pair.name, kept[pair.name].rows, kept[pair.name].checksum) for pair in tables
    )


def _held(connection: Connection, tables: list[Pair]) -> list[str]:
    """The tables that hold more than a fresh schema."""
    return [
        pair.name
        for pair in tables
        if pair.name not in NOT_LOOKED_AT
        and connection.execute(statements.first(pair.target), {}).fetchone() is not None
    ]


@contextmanager
def _about(side: str) -> Iterator[None]:
    """Says of which of the two databases a fault is."""
    try:
        yield
    except SchemaOutOfDate as error:
        raise SchemaOutOfDate(
            f"The {side} is not of this version's form: {error.message} For that name it in"
            " SWITCHBOARD_DATABASE_URL."
        ) from error
    except StorageUnavailable as error:
        raise StorageUnavailable(f"The {side}: {error.message}", part=error.part) from error
