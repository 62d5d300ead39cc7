"""What is wrong or only doubtful with a PostgreSQL database and its server."""

from __future__ import annotations

from webapp.storage.postgres.connection import PostgresConnection


def version(connection: PostgresConnection) -> str:
    """The server's name and version."""
    found = connection.execute("SELECT current_setting('server_version')").fetchone()
    return f"PostgreSQL {str(found[0]).split(' ', 1)[0]}"


def faults(connection: PostgresConnection, *, thorough: bool) -> list[str]:
    """The damage, a sentence each. With `thorough`, every index is compared with its table where
    the extension amcheck is there."""
    found: list[str] = []
    failures = connection.execute(
        "SELECT COALESCE(checksum_failures, 0) FROM pg_stat_database"
        " WHERE datname = current_database()"
    ).fetchone()[0]
    if failures:
        found.append(f"The server found {failures} pages of the database damaged.")
    invalid = connection.execute(
        "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = current_schema() AND NOT (i.indisvalid AND i.indisready)"
    ).fetchall()
    found += [f"The index {row[0]} is not whole." for row in invalid]
    if thorough and _has_extension(connection, "amcheck"):
        connection.execute(
            "SELECT bt_index_check(c.oid, true) FROM pg_index i"
            " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = current_schema() AND a.amname = 'btree'"
        )
    return found


def doubts(connection: PostgresConnection) -> list[str]:
    """The risks of a database that works, a sentence each."""
    found = [
        f"{name} is off in the server: {what}."
        for name, what in _SETTINGS.items()
        if connection.execute(f"SELECT current_setting('{name}')").fetchone()[0] == "off"
    ]
    if _passes_the_wall(connection):
        found.append(
            "its role is a superuser or has BYPASSRLS, so row-level security, the second wall"
            " between tenants, does not hold; let a role without either own the database"
        )
    if not _has_extension(connection, "pg_trgm"):
        found.append(
            "the extension pg_trgm is missing, so a search for part of a user id reads every id;"
            " let a superuser run CREATE EXTENSION pg_trgm in the database, and then: switchboard"
            " db upgrade"
        )
    return found


def _passes_the_wall(connection: PostgresConnection) -> bool:
    found = connection.execute(
        "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    )
    return bool(found.fetchone()[0])


def _has_extension(connection: PostgresConnection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM pg_extension WHERE extname = :name", {"name": name})
    return found.fetchone() is not None


_SETTINGS = {
    "fsync": "a power cut may destroy the database",
    "full_page_writes": "a power cut may destroy pages of the database",
    "synchronous_commit": "a power cut may lose answers that clients have received",
}
