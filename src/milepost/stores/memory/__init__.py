"""The memory store: first-class, pure Python, and the executable specification that other stores are compared with."""

from milepost.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
