"""Workflows on the server: their runs for tenants, and runs that a worker left behind."""
