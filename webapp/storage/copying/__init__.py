"""Moves all that an installation keeps from one database into another, whatever their engines."""

from webapp.storage.copying.run import CopiedTable, CopyReport, Progress, copy

__all__ = ["CopiedTable", "CopyReport", "Progress", "copy"]
