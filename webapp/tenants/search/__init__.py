"""Finds tenants by a part of their id."""
