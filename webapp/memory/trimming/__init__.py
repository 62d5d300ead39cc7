"""The cap applied to a stored session."""
