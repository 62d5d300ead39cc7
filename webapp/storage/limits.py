"""The limiter's storages of our engines; importing this makes the `limits` package know them."""

from webapp.storage.redis.limits import InOneStep, reason
from webapp.storage.sqlite.limits import SQLiteStorage

__all__ = ["InOneStep", "SQLiteStorage", "reason"]
