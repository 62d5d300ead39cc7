"""Limits of a tenant's sessions and messages in all: whole oldest sessions go."""
