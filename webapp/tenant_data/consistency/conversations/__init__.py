"""Recounts messages."""
