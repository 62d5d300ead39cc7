"""Turns that wait for the approval of a tool's call, as rows."""
