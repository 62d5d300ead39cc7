"""Acts on all that is kept of a tenant, in several packages: the order of their calls."""
