"""Compares counters and sums with their rows."""
