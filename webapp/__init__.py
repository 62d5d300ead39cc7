"""Switchboard: one agent that serves many tenants."""
