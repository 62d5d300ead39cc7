"""What of usage is one tenant's: exported, imported and forgotten with it."""
