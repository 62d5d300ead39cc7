"""Runs of workflows on their way from one installation to another."""
