"""The list of a tenant's sessions: what may be asked for, and its pages."""
