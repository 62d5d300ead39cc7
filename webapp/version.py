"""The version of this release; the build reads it from here, and nothing else is in it."""

__version__ = "0.1.0"
