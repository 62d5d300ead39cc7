"""Notes that the agent keeps for its tenants, as rows."""
