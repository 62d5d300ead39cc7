"""The use cases on tenants: each with its audit note; looking makes no tenant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import HandClock
from webapp.errors import InvalidInput, NotFound
from webapp.messages import Message
from webapp.storage import Connection, Database
from webapp.tenant_data import cleanup
from webapp.tenant_data.acts import TenantActs
from webapp.tenant_data.storing import store_messages, store_request
from webapp.tenants import store
from webapp.tenants.activity import store as activity
from webapp.tenants.directory import TenantDirectory
from webapp.tenants.listing.query import TenantFilter, TenantQuery
from webapp.tenants.notes import AuditNote
from webapp.tenants.restrictions.change import TenantChange
from webapp.tenants.user_ids.encrypted import EncryptedUserIds
from webapp.usage.records import RequestRecord

DAY = 86_400


class Notes(list[AuditNote]):
    """Keeps what the audit log would get."""

    def __call__(self, connection: Connection, note: AuditNote) -> None:
        self.append(note)


class Broken(Exception):
    """An audit log that cannot write."""


def broken(connection: Connection, note: AuditNote) -> None:
    raise Broken


def speak(database: Database, clock: HandClock, user_id: str, turns: int = 1) -> int:
    """Stores turns and what they cost, as the chat service does."""

    def work(connection: Connection) -> int:
        number = store.ensure(connection, user_id, clock.now_ms())
        for turn in range(turns):
            messages = [Message.user(f"question {turn}"), Message.assistant("answer")]
            store_messages(connection, number, "default", messages, 0, clock.now_ms())
            record = RequestRecord(
                clock.now_ms(), "chat", 200, 10, "req", input_tokens=1, output_tokens=2
            )
            store_request(connection, number, record)
        return number

    return database.write(work)


def ids(directory: TenantDirectory, query: TenantQuery | None = None) -> list[str]:
    return [row.user_id for row in directory.page(query or TenantQuery(sort="user_id")).rows]


def test_looking_at_and_clearing_an_unknown_tenant_makes_none(
    directory: TenantDirectory, acts: TenantActs
) -> None:
    notes = Notes()
    assert directory.find("mallory") is None
    assert directory.number("mallory") is None
    assert acts.clear("mallory", audit=notes) == 0
    with pytest.raises(NotFound):
        directory.get("mallory")
    with pytest.raises(NotFound):
        acts.forget("mallory", audit=notes)
    with pytest.raises(NotFound):
        directory.update("mallory", TenantChange(blocked=True), audit=notes)
    with pytest.raises(NotFound):
        list(acts.export("mallory"))
    assert ids(directory) == []
    assert notes == []


def test_only_what_is_given_changes(
    database: Database, clock: HandClock, directory: TenantDirectory
) -> None:
    speak(database, clock, "alice")
    directory.update("alice", TenantChange(rate_limit="5/minute", token_budget="9/day"))
    after = directory.update("alice", TenantChange(blocked=True))
    assert after.blocked
    assert (after.rate_limit, after.token_budget) == ("5/minute", "9/day")
    after = directory.update("alice", TenantChange(rate_limit=None))
    assert (after.blocked, after.rate_limit, after.token_budget) == (True, None, "9/day")


def test_a_block_keeps_the_time_it_began(
    database: Database, clock: HandClock, directory: TenantDirectory
) -> None:
    speak(database, clock, "alice")
    began = directory.update("alice", TenantChange(blocked=True)).blocked_at
    clock.advance(60)
    assert directory.update("alice", TenantChange(blocked=True)).blocked_at == began


@pytest.mark.parametrize(
    "change",
    [
        TenantChange(rate_limit="often"),
        TenantChange(rate_limit=""),
        TenantChange(rate_limit="0/minute"),
        TenantChange(rate_limit="5/fortnight"),
        TenantChange(rate_limit="1/minute;" * 100),
        TenantChange(blocked=True, rate_limit="5/minute; DROP TABLE tenants"),
        TenantChange(token_budget="many"),
    ],
)
def test_a_limit_that_is_none_changes_nothing(
    database: Database, clock: HandClock, directory: TenantDirectory, change: TenantChange
) -> None:
    speak(database, clock, "alice")
    before = directory.get("alice")
    with pytest.raises(InvalidInput):
        directory.update("alice", change)
    assert directory.get("alice") == before


def test_each_act_hands_its_figures_to_the_audit_log(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    alice = speak(database, clock, "alice", turns=2)
    bob = speak(database, clock, "bob")
    notes = Notes()
    directory.update("alice", TenantChange(blocked=True), audit=notes)
    directory.update("alice", TenantChange(blocked=True), audit=notes)  # changes nothing
    directory.update("alice", TenantChange(blocked=False), audit=notes)
    directory.update("alice", TenantChange(rate_limit="5/minute"), audit=notes)
    acts.clear("alice", audit=notes)
    acts.clear_all(audit=notes)
    acts.forget("bob", audit=notes)
    assert notes == [
        AuditNote("block_tenant", alice, {"blocked": False}, {"blocked": True}),
        AuditNote("unblock_tenant", alice, {"blocked": True}, {"blocked": False}),
        AuditNote("change_tenant", alice, {"rate_limit": None}, {"rate_limit": "5/minute"}),
        AuditNote("clear_tenant", alice, {"messages": 4}),
        AuditNote("clear_all", None, {"messages": 2, "tenants": 1}),
        AuditNote("forget_tenant", bob, {"messages": 0, "sessions": 0, "requests": 1}),
    ]


def test_an_act_that_cannot_be_audited_does_not_happen(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    speak(database, clock, "alice")
    exported = list(acts.export("alice"))
    before = directory.get("alice")
    each: list[Any] = [
        lambda: directory.update("alice", TenantChange(blocked=True), audit=broken),
        lambda: acts.clear("alice", audit=broken),
        lambda: acts.clear_all(audit=broken),
        lambda: acts.forget("alice", audit=broken),
        lambda: acts.import_("bob", exported, audit=broken),
        lambda: acts.cleanup(-1, audit=broken),
    ]
    for act in each:
        with pytest.raises(Broken):
            act()
    assert directory.get("alice") == before
    assert ids(directory) == ["alice"]


def test_clearing_one_leaves_the_other(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    speak(database, clock, "alice", turns=3)
    speak(database, clock, "bob", turns=2)
    assert acts.clear("alice") == 6
    assert acts.clear("alice") == 0
    assert directory.get("alice").message_count == 0
    assert directory.get("alice").request_count == 3
    assert directory.get("bob").message_count == 4
    assert acts.clear_all() == (4, 1)


def test_forgetting_leaves_no_row_behind(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    number = speak(database, clock, "alice", turns=2)
    speak(database, clock, "bob")
    gone = acts.forget("alice")
    assert gone.as_dict() == {"messages": 4, "sessions": 1, "requests": 2}
    with database.read() as connection:
        for table in ("sessions", "requests", "usage", "idempotency"):
            left = connection.execute(
                f"SELECT COUNT(*) FROM {table} WHERE tenant_id = :number", {"number": number}
            )
            assert left.fetchone() == (0,), table
        assert connection.execute("SELECT COUNT(*) FROM messages", {}).fetchone() == (2,)
    assert ids(directory) == ["bob"]
    with pytest.raises(NotFound):
        acts.forget("alice")


def test_cleanup_forgets_the_silent_and_spares_the_rest(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    for user_id in ("alice", "blocked", "returns"):
        speak(database, clock, user_id)
    directory.update("blocked", TenantChange(blocked=True))
    clock.advance(2 * DAY)
    speak(database, clock, "returns")
    speak(database, clock, "bob")
    notes = Notes()
    assert acts.cleanup(DAY, dry_run=True, audit=notes) == cleanup.Cleanup(1, 2)
    assert len(ids(directory)) == 4
    assert notes == []
    assert acts.cleanup(DAY, audit=notes) == cleanup.Cleanup(1, 2)
    assert ids(directory) == ["blocked", "bob", "returns"]
    assert notes == [AuditNote("forget_inactive", before={"tenants": 1, "messages": 2})]
    assert acts.cleanup(DAY, audit=notes) == cleanup.Cleanup(0, 0)
    assert len(notes) == 1


def test_cleanup_spares_whom_it_found_silent_and_who_spoke_since(
    database: Database,
    clock: HandClock,
    directory: TenantDirectory,
    acts: TenantActs,
    monkeypatch: Any,
) -> None:
    speak(database, clock, "alice")
    speak(database, clock, "bob")
    clock.advance(2 * DAY)
    seen = activity.inactive

    def alice_speaks_meanwhile(*args: Any) -> Any:
        found = seen(*args)
        if found:
            speak(database, clock, "alice")
        return found

    monkeypatch.setattr(activity, "inactive", alice_speaks_meanwhile)
    assert acts.cleanup(DAY) == cleanup.Cleanup(1, 2)
    assert ids(directory) == ["alice"]
    assert directory.get("alice").message_count == 4


def test_cleanup_goes_through_many_batches(
    database: Database, clock: HandClock, acts: TenantActs, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cleanup, "BATCH", 3)
    for number in range(10):
        clock.advance(number % 2)
        speak(database, clock, f"user-{number}")
    clock.advance(2 * DAY)
    told: list[int] = []
    assert acts.cleanup(DAY, dry_run=True).tenants == 10
    assert acts.cleanup(DAY, progress=lambda done: told.append(done.tenants)).tenants == 10
    assert told == [3, 6, 9, 10]


def test_the_census_counts_all_and_the_active(
    database: Database, clock: HandClock, directory: TenantDirectory
) -> None:
    speak(database, clock, "alice")
    clock.advance(2 * DAY)
    speak(database, clock, "bob")
    census = directory.census(DAY * 1000)
    assert (census.tenants, census.active) == (2, 1)


def test_a_number_leads_back_to_its_user(
    database: Database, clock: HandClock, directory: TenantDirectory, acts: TenantActs
) -> None:
    number = speak(database, clock, "alice")
    assert directory.named(number) == "alice"
    acts.forget("alice")
    assert directory.named(number) is None


# -- encrypted ids -------------------------------------------------------------------------------


@pytest.fixture
def sealed(database: Database, clock: HandClock) -> TenantDirectory:
    user_ids = EncryptedUserIds("a key that is long enough for user ids", b"k" * 32)
    for number in range(30):
        for name in ("alice", "bob"):
            speak(database, clock, user_ids.stored(f"org-{name}-{number:02}"))
    return TenantDirectory(database, user_ids, clock, encrypted=True)


def test_encrypted_ids_are_shown_readable_and_stored_sealed(
    sealed: TenantDirectory, tmp_path: Path
) -> None:
    assert "org-alice-00" in ids(sealed, TenantQuery(limit=200))
    assert sealed.get("org-bob-07").user_id == "org-bob-07"
    for file in tmp_path.iterdir():
        assert b"org-alice" not in file.read_bytes()


def test_encrypted_ids_are_found_whole(sealed: TenantDirectory) -> None:
    def found(search: str) -> list[str]:
        return ids(sealed, TenantQuery(TenantFilter(search=search)))

    assert found("org-alice-03") == ["org-alice-03"]
    assert found("org-alice") == found("ORG-ALICE-03") == found("\ud800") == []


def test_a_search_does_not_reach_past_the_only_user_of_a_key(sealed: TenantDirectory) -> None:
    for search in ("", "org-alice-03", "org-bob-03", "org"):
        query = TenantQuery(TenantFilter(search=search, only="org-alice-03"))
        assert set(ids(sealed, query)) <= {"org-alice-03"}


def test_a_prefix_of_encrypted_ids_is_found_page_by_page(sealed: TenantDirectory) -> None:
    query = TenantQuery(TenantFilter(prefix="org-alice-"), limit=7)
    found: list[str] = []
    while True:
        page = sealed.page(query)
        assert len(page.rows) <= 7
        found += [row.user_id for row in page.rows]
        if page.following is None:
            break
        query = replace(query, position=page.following)
    assert sorted(found) == [f"org-alice-{number:02}" for number in range(30)]
