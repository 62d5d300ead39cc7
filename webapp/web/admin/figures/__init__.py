"""Figures that several pages show, and the cache that counts them."""
