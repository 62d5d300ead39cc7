"""Calls of tools: facts, their sums by hour, and the figures of a window."""
