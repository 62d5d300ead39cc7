"""What users and the agent said to each other, kept apart by user; see protocol.py."""

from webapp.memory.in_memory import InMemory
from webapp.memory.postgres import PostgresMemory
from webapp.memory.protocol import Memory, StatefulMemory, SummarizedMemory
from webapp.memory.sqlite import SQLiteMemory
from webapp.memory.summary import Summary
from webapp.memory.users import MemorySession, MemoryUser

__all__ = [
    "InMemory",
    "Memory",
    "MemorySession",
    "MemoryUser",
    "PostgresMemory",
    "SQLiteMemory",
    "StatefulMemory",
    "SummarizedMemory",
    "Summary",
]
