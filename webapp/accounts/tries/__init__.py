"""Tries to sign in, counted so that guessing is slow."""
