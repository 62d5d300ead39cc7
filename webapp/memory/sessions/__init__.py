"""The rows of sessions; what was said in them is beside it."""
