"""A tenant's conversations page by page, for people and exports."""
