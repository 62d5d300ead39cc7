"""The list of tenants: what may be asked for, and its pages."""
