"""Recounts the sums by minute, hour and day."""
