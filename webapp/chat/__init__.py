"""A turn on the server: idempotency, budgets, records, and the agent's configuration; no HTTP."""
