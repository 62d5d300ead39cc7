"""Recounts what stands in a tenant's own row."""
