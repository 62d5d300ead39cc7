"""The usage of one tenant, which is exported, imported and forgotten with it."""
