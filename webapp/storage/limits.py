"""The limiter's storages of our engines; importing this makes the `limits` package know them."""

import webapp.storage.sqlite.limits  # noqa: F401  # to be known is all it is for
from webapp.storage.redis.limits import InOneStep, reason

__all__ = ["InOneStep", "reason"]
