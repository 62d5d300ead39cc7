"""What an agent reads of a session before a turn."""
