"""Removes conversations, in parts."""
