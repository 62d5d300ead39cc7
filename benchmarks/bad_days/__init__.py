"""Breaks one thing after another under load, and counts what was answered and what is stored."""
