"""Takes tenants out and in, one or all, in either format; each import is stored whole or not at
all.

An import is read twice: first every line is checked, then it is stored in one transaction. What
comes over the network is held in memory in between, and bounded; a file is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import Literal

from webapp.clock import Clock
from webapp.errors import InvalidInput
from webapp.storage import Connection, Database
from webapp.tenant_data.transfer.export import (
    at_one_moment,
    end_of_all,
    export_lines,
    head_of_all,
)
from webapp.tenant_data.transfer.items import FROM_FILE, IN_MEMORY, Begun, Bounds, Ended, Item
from webapp.tenant_data.transfer.openai_format import openai_lines, read_openai
from webapp.tenant_data.transfer.reading import read_export, read_export_of_all
from webapp.tenant_data.transfer.restoring import Imported, Stored, store_import
from webapp.tenants import store
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.notes import Audit, AuditNote
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.rows import TenantRow
from webapp.tenants.user_ids.forms import UserIds

Format = Literal["switchboard", "openai"]
Lines = Callable[[], Iterable[bytes]]
"""The lines of a file, from its begin each time that it is called."""
_Items = Callable[[], Iterable[Item]]

TENANTS_AT_ONCE = 500
HELD_BYTES = 1024 * 1024
BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class ImportedAll:
    """The outcome of an import of all tenants; `known` of them were there before."""

    tenants: int = 0
    known: int = 0
    sessions: int = 0
    messages: int = 0
    messages_left_out: int = 0
    requests: int = 0


class Transfers:
    """Exports and imports, by readable user ids."""

    def __init__(
        self,
        database: Database,
        user_ids: UserIds,
        clock: Clock,
        directory: TenantDirectory,
        *,
        cap: int,
    ) -> None:
        self._database = database
        self._user_ids = user_ids
        self._clock = clock
        self._directory = directory
        self._cap = cap

    def export(
        self,
        user_id: str,
        *,
        conversations: bool = True,
        form: Format = "switchboard",
        audit: Audit | None = None,
    ) -> Iterator[bytes]:
        """The tenant's data in pieces, read while they are sent; raises `NotFound`.

        The audit log notes it before the first of them.
        """
        tenant = self._directory.get(user_id)
        if audit is not None:
            figures = {"messages": tenant.message_count, "conversations": conversations}
            note = AuditNote("export_tenant", tenant.number, figures)
            self._database.write(lambda connection: audit(connection, note))
        if form == "openai":
            return openai_lines(self._database.read, tenant) if conversations else iter(())
        return export_lines(
            self._database.read, tenant, self._clock.now_ms(), conversations=conversations
        )

    def export_all(
        self,
        write: Callable[[bytes], object],
        *,
        conversations: bool = True,
        form: Format = "switchboard",
        audit: Audit | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Writes the data of all tenants; how many these are. Each is as it is at one moment.

        `progress` is told how many are done, of how many.
        """
        total = self._note_export_of_all(conversations, audit)
        now_ms, done = self._clock.now_ms(), 0
        if form == "switchboard":
            write(head_of_all(now_ms, conversations=conversations))
        for number in self._numbers():
            done += self._write_one(number, write, now_ms, conversations, form)
            if progress is not None:
                progress(done, max(done, total))
        if form == "switchboard":
            write(end_of_all(done))
        return done

    def export_all_pieces(
        self,
        *,
        conversations: bool = True,
        form: Format = "switchboard",
        audit: Audit | None = None,
    ) -> Iterator[bytes]:
        """The same for somebody who reads at a pace of their own: nothing is held in the database
        meanwhile. A tenant waits in memory, or in a file without a name when it is large."""
        self._note_export_of_all(conversations, audit)
        return self._pieces_of_all(conversations, form)

    def _pieces_of_all(self, conversations: bool, form: Format) -> Iterator[bytes]:
        now_ms, done = self._clock.now_ms(), 0
        if form == "switchboard":
            yield head_of_all(now_ms, conversations=conversations)
        for number in self._numbers():
            with SpooledTemporaryFile(max_size=HELD_BYTES) as kept:
                done += self._write_one(number, kept.write, now_ms, conversations, form)
                kept.seek(0)
                while block := kept.read(BLOCK_BYTES):
                    yield block
        if form == "switchboard":
            yield end_of_all(done)

    def _note_export_of_all(self, conversations: bool, audit: Audit | None) -> int:
        """How many tenants there are; the audit log has it before the first of them is sent."""
        with self._database.read() as connection:
            total = store.count(connection)
        if audit is not None:
            note = AuditNote("export_all", None, {"tenants": total, "conversations": conversations})
            self._database.write(lambda connection: audit(connection, note))
        return total

    def _write_one(
        self,
        number: int,
        write: Callable[[bytes], object],
        now_ms: int,
        conversations: bool,
        form: Format,
    ) -> bool:
        """One tenant as it is at one moment; False when it was forgotten meanwhile."""

        def work(connection: Connection) -> bool:
            tenant = store.find_number(connection, number)
            if tenant is None:
                return False
            tenant = replace(tenant, user_id=self._user_ids.readable(tenant.user_id))
            for piece in self._pieces(connection, tenant, now_ms, conversations, form):
                write(piece)
            return True

        return self._database.read_long(work)

    def import_(
        self,
        user_id: str,
        lines: Iterable[bytes],
        *,
        form: Format = "switchboard",
        audit: Audit | None = None,
    ) -> Imported:
        """Reads an export into the tenant, which may be another than it came from.

        All of it or, with `InvalidInput` or `Conflict`, nothing.
        """
        read = self._read_openai(lines) if form == "openai" else read_export(lines)
        items = list(read)
        ((_, imported),) = self._import(lambda: items, lambda _: user_id, audit)
        return imported

    def import_file(
        self,
        user_id: str,
        lines: Lines,
        *,
        form: Format = "switchboard",
        audit: Audit | None = None,
    ) -> Imported:
        """The same from a file, which need not fit into memory."""

        def items() -> Iterable[Item]:
            if form == "openai":
                return self._read_openai(lines(), bounds=FROM_FILE)
            return read_export(lines(), FROM_FILE)

        ((_, imported),) = self._import(items, lambda _: user_id, audit)
        return imported

    def import_all(
        self, lines: Lines, *, form: Format = "switchboard", audit: Audit | None = None
    ) -> ImportedAll:
        """Reads an export of all tenants, each under its own id; all of them or nothing."""

        def items() -> Iterable[Item]:
            if form == "openai":
                return self._read_openai(lines(), of_all=True, bounds=FROM_FILE)
            return read_export_of_all(lines())

        return self._import_all(items, audit)

    def import_all_once(
        self, lines: Iterable[bytes], *, form: Format = "switchboard", audit: Audit | None = None
    ) -> ImportedAll:
        """The same for lines that come but once, and are held in memory until all were read."""
        if form == "openai":
            items = list(self._read_openai(lines, of_all=True))
        else:
            items = list(read_export_of_all(lines, IN_MEMORY))
        return self._import_all(lambda: items, audit)

    def _import_all(self, items: _Items, audit: Audit | None) -> ImportedAll:
        came = ImportedAll()
        for _, one in self._import(items, lambda begun: begun.user_id or "", audit):
            came = ImportedAll(
                came.tenants + 1,
                came.known + (not one.new_tenant),
                came.sessions + one.sessions,
                came.messages + one.messages,
                came.messages_left_out + one.messages_left_out,
                came.requests + one.requests,
            )
        return came

    def _read_openai(
        self, lines: Iterable[bytes], *, of_all: bool = False, bounds: Bounds | None = None
    ) -> Iterator[Item]:
        now_ms = self._clock.now_ms()
        if bounds is None:
            return read_openai(lines, now_ms, of_all=of_all)
        return read_openai(lines, now_ms, of_all=of_all, bounds=bounds)

    def _import(
        self, items: _Items, name: Callable[[Begun], str], audit: Audit | None
    ) -> list[Stored]:
        counts = list(_checked(items()))

        def named(begun: Begun) -> tuple[str, str]:
            return self._user_ids.stored(name(begun)), name(begun)

        def work(connection: Connection) -> list[Stored]:
            now_ms = self._clock.now_ms()
            stored = []
            for one in store_import(connection, named, items(), counts, now_ms, cap=self._cap):
                if audit is not None:
                    number, came = one
                    figures = {
                        "sessions": came.sessions,
                        "messages": came.messages,
                        "requests": came.requests,
                    }
                    audit(connection, AuditNote("import_tenant", number, after=figures))
                stored.append(one)
            return stored

        return self._database.write_long(work)

    def _pieces(
        self,
        connection: Connection,
        tenant: TenantRow,
        now_ms: int,
        conversations: bool,
        form: Format,
    ) -> Iterator[bytes]:
        reading = at_one_moment(connection)
        if form == "openai":
            return openai_lines(reading, tenant) if conversations else iter(())
        return export_lines(reading, tenant, now_ms, conversations=conversations)

    def _numbers(self) -> Iterator[int]:
        """The numbers of all tenants, a page at a time."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = store.numbers_after(connection, last, TENANTS_AT_ONCE)
            yield from page
            if len(page) < TENANTS_AT_ONCE:
                return
            last = page[-1]


def _checked(items: Iterable[Item]) -> Iterator[Ended]:
    """Looks at every item and its limits; gives how much there is of each tenant."""
    for item in items:
        if isinstance(item, Begun) and item.tenant is not None:
            given = item.tenant
            try:
                TenantChange(rate_limit=given.rate_limit, token_budget=given.token_budget).check()
            except InvalidInput as error:
                fault = f"Line {item.line} of the import: {error.message}"
                raise InvalidInput(fault, fields=error.fields) from None
        elif isinstance(item, Ended):
            yield item
