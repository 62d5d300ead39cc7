"""Roles, keys, tokens, console accounts and the audit log; HTTP is not here."""
