"""The order of the tenants by what happened in a window of time."""
