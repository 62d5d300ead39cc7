"""Tests of the memory on a PostgreSQL server beyond what every memory must do."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pytest

from tests.databases.pgbouncer import PgBouncer
from tests.databases.postgres import PostgresServer
from webapp.errors import ConfigurationError, StorageUnavailable
from webapp.memory import PostgresMemory
from webapp.messages import Message

USERS = ("alice", "bob", "")
WRITER = """
import sys
from webapp.memory import PostgresMemory
from webapp.messages import Message
memory = PostgresMemory(sys.argv[1], max_size=1000)
for index in range(20):
    for user in ("alice", "bob", ""):
        text = f"{sys.argv[2]}.{index}"
        memory.add(Message.user(text), Message.assistant(text), user_id=user)
memory.close()
"""


def test_processes_begin_on_an_empty_database_at_once_and_lose_nothing(
    empty_postgres_url: str, pgbouncer: PgBouncer
) -> None:
    """One of them straight, the others through a pooler."""
    urls = [empty_postgres_url, *[pgbouncer.url(empty_postgres_url)] * 2]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(n)], stderr=subprocess.PIPE)
        for n, url in enumerate(urls)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors.decode()
    memory = PostgresMemory(empty_postgres_url)
    for user in USERS:
        messages = memory.get_messages(user)
        pairs = list(zip(messages[::2], messages[1::2], strict=True))
        assert all(question.content == answer.content for question, answer in pairs)
        for name in range(3):
            own = [one.content for one, _ in pairs if one.content.startswith(f"{name}.")]
            assert own == [f"{name}.{index}" for index in range(20)]
    assert sorted(user.message_count for user in memory.users()) == [120, 120, 120]
    memory.close()


def test_a_role_that_may_only_use_the_tables_is_enough(
    postgres: PostgresServer, postgres_url: str
) -> None:
    name = postgres.database_of(postgres_url)
    postgres.execute("CREATE ROLE guest LOGIN PASSWORD 'not-a-secret'", name)
    postgres.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", name)
    postgres.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO guest", name)
    memory = PostgresMemory(postgres_url.replace("//switchboard:", "//guest:"))
    memory.add(Message.user("Hello"), user_id="alice")
    assert memory.size("alice") == 1
    memory.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT COUNT(*) FROM messages").fetchone() == (0,)
    postgres.execute("DROP OWNED BY guest", name)
    postgres.execute("DROP ROLE guest", name)


@pytest.mark.parametrize(
    ("given", "size", "sentence"),
    [
        ("chats.db", 100, "is given the URL of a database"),
        (4, 100, "a PostgresMemory is given the URL of a database"),
        ("postgresql://host/a b", 100, "must look like"),
        ("postgresql://host/name?nonsense=1", 100, "not one that PostgreSQL understands"),
        ("postgresql://host/name", "9", "max_size is a whole number"),
    ],
)
def test_what_is_no_server_or_no_size_is_one_sentence(given: Any, size: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ConfigurationError), match=sentence):
        PostgresMemory(given, size)


def test_a_server_that_is_away_is_said_to_be_at_once() -> None:
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        PostgresMemory("postgresql://switchboard:hunter2@127.0.0.1:1/none")


WITHOUT = """
import sys
sys.modules["psycopg"] = None  # as if it were not installed
import webapp.memory
assert not [name for name in sys.modules if name.startswith("webapp.storage.postgres")]
from webapp.errors import ConfigurationError
try:
    webapp.memory.PostgresMemory("postgresql://host/name")
except ConfigurationError as error:
    print(error.message)
"""


def test_without_psycopg_the_other_memories_work_and_this_one_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "The database is on a PostgreSQL server, which needs the package psycopg; install it"
        " with: pip install 'psycopg[binary]'.\n"
    )


def test_the_memory_needs_nothing_of_the_server() -> None:
    program = (
        "import sys, webapp.memory; print([name for name in sys.modules if name.partition('.')[0]"
        " in ('flask', 'gevent', 'gunicorn', 'openai', 'psycopg')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n"
