"""The REST API: one module an endpoint group."""
