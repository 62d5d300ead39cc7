"""The toolkit `notes`: each user's own, on the server and in a program."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from tests.conftest import MakeApp, services_of
from tests.fakes import FakeModel, calls, said
from webapp.agent import RunContext, Toolkit
from webapp.agent.toolkits import notes
from webapp.agent.toolkits.notes import MAX_CHARS, MAX_NOTES, InMemoryNotes, Notes
from webapp.agent.tools import by_name
from webapp.chat.tenant_notes import TenantNotes
from webapp.clock import SystemClock
from webapp.storage import Connection, Database
from webapp.tenants import store as tenants
from webapp.tenants.user_ids.forms import PlainUserIds


def made(user_id: str, connection: Connection) -> None:
    tenants.ensure(connection, user_id, 1)


@pytest.fixture(params=["memory", "database"])
def kept(request: pytest.FixtureRequest, database: Database) -> Notes:
    if request.param == "memory":
        return InMemoryNotes()
    for user in ("alice", "bob"):
        database.write(partial(made, user))
    return TenantNotes(database, PlainUserIds(b"key"), SystemClock())


def use(kit: Toolkit, name: str, user_id: str = "alice", **arguments: Any) -> str:
    return asked(kit, name, user_id, arguments)


def asked(kit: Toolkit, name: str, user_id: str, arguments: dict[str, Any]) -> str:
    return by_name([kit])[name].run(json.dumps(arguments), RunContext(user_id=user_id)).content


def texts(kit: Toolkit, user_id: str = "alice", query: str = "") -> list[str]:
    return [note["text"] for note in json.loads(use(kit, "recall", user_id, query=query))]


def test_what_is_kept_is_found_and_can_be_forgotten(kept: Notes) -> None:
    kit = notes(kept)
    assert use(kit, "remember", text=" Likes green tea. ") == "Kept as note 1."
    assert use(kit, "remember", text="Lives in Zürich") == "Kept as note 2."
    assert use(kit, "remember", text="Likes green tea.") == "Kept as note 1."
    assert texts(kit) == ["Lives in Zürich", "Likes green tea."]
    assert texts(kit, query="TEA likes") == ["Likes green tea."]
    assert texts(kit, query="zürich") == ["Lives in Zürich"]
    assert texts(kit, query="coffee") == []
    assert use(kit, "forget", note=1) == "Note 1 is forgotten."
    assert use(kit, "forget", note=1) == "Error: There is no note 1."
    assert use(kit, "remember", text="New") == "Kept as note 3."


def test_nobody_reaches_the_notes_of_another(kept: Notes) -> None:
    kit = notes(kept)
    use(kit, "remember", text="Alice's secret")
    assert texts(kit, "bob") == []
    assert use(kit, "forget", "bob", note=1) == "Error: There is no note 1."
    wishes: dict[str, dict[str, Any]] = {
        "recall": {},
        "remember": {"text": "x"},
        "forget": {"note": 1},
    }
    for name, arguments in wishes.items():
        told = asked(kit, name, "bob", arguments | {"user_id": "alice"})
        assert told == f"Error: {name} has no argument 'user_id'."
        told = asked(kit, name, "bob", arguments | {"context": {"user_id": "alice"}})
        assert told == f"Error: {name} has no argument 'context'."
    assert texts(kit) == ["Alice's secret"]


def test_notes_are_bounded_in_size_and_number(kept: Notes) -> None:
    kit = notes(kept)
    assert use(kit, "remember", text="x" * (MAX_CHARS + 1)).startswith("Error: The argument 'text'")
    assert use(kit, "remember", text="  ") == "Error: A note cannot be blank."
    for number in range(MAX_NOTES):
        assert kept.add("alice", f"note {number}") is not None
    assert use(kit, "remember", text="more").startswith("Error: There are 200 notes already")
    assert len(texts(kit)) == 20
    assert use(kit, "remember", user_id="bob", text="more") == "Kept as note 1."


def test_many_at_once_lose_no_note(database: Database) -> None:
    database.write(lambda connection: tenants.ensure(connection, "alice", 1))
    kept = TenantNotes(database, PlainUserIds(b"key"), SystemClock())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: kept.add("alice", f"note {number}"), range(24)))
    assert sorted(note.number for note in kept.all("alice")) == list(range(1, 25))
    assert kept.add("carol", "unknown") is None
    assert (list(kept.all("carol")), kept.remove("carol", 1)) == ([], False)


def test_a_forget_takes_the_notes_and_a_clear_does_not(make_app: MakeApp) -> None:
    model = FakeModel.of(calls(("remember", {"text": "likes tea"})), said("Noted.", 1, 1))
    app = make_app(model=model, TOOLKITS="notes")
    services, client = services_of(app), app.test_client()
    client.post("/chat", json={"user_id": "alice", "message": "I like tea."})
    kept = TenantNotes(services.database, services.user_ids, services.clock)
    assert [note.text for note in kept.all("alice")] == ["likes tea"]
    client.delete("/api/tenants/alice/messages")
    assert len(kept.all("alice")) == 1
    client.delete("/api/tenants/alice")
    model.answers.append(said("Hello.", 1, 1))
    client.post("/chat", json={"user_id": "alice", "message": "Hi"})
    assert list(kept.all("alice")) == []
