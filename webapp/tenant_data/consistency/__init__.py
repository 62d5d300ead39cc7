"""Recounts what is stored and compares it with every counter and sum, for `check --data`."""
