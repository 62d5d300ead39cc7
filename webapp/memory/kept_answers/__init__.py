"""Answers that are kept for idempotency keys: the words of a turn, and cleared with them."""
