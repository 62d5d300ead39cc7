"""The one list that every step of the schema puts itself into; sqlite-utils keeps the record."""

from __future__ import annotations

from sqlite_utils import Migrations

migrations = Migrations("switchboard")
