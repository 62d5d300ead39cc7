"""The database: connecting, units of work, schema; what is stored is in each package's store.py."""

from webapp.storage.database import Connection, Database, open_database, open_turn_lines

__all__ = ["Connection", "Database", "open_database", "open_turn_lines"]
