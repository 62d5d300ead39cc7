"""A tenant's own counters, kept in its row."""
