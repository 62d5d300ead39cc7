"""The engine SQLite: connecting, locking, the log, the schema; nobody outside storage/ needs it."""
