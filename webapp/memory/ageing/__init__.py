"""Removes messages that are older than they may become, whole turns at a time."""
