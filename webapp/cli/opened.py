"""Opens the services for one command, over a sound database, and closes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from webapp.services import Services, build_services
from webapp.settings import load_settings


@contextmanager
def opened_services() -> Iterator[Services]:
    """Raises `ConfigurationError` or `StorageUnavailable` with a sentence when it cannot be."""
    services = build_services(load_settings())
    try:
        services.require_sound_database()
        yield services
    finally:
        services.close()
