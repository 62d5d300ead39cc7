"""Exports of one tenant, and reading them back."""
