"""The state of each session, as its row has it."""
