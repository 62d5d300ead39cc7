"""The running summary of each session, as a row of its own."""
