"""What happened in a simulation, line by line, with a hash that two equal runs share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import final


@final
class Trace:
    """Lines of virtual time, who, and what. The hash covers all of them, also those that are not kept."""

    def __init__(self, *, keeps: int = 20_000) -> None:
        self._hash = hashlib.sha256()
        self._keeps = keeps
        self._lines: list[str] = []
        self.length = 0

    def note(self, now: float, who: str, what: str) -> None:
        """Add a line."""
        line = f"{now:12.5f} {who}: {what}"
        self._hash.update(line.encode())
        self._hash.update(b"\n")
        self.length += 1
        self._lines.append(line)
        if len(self._lines) >= 2 * self._keeps:
            del self._lines[: self._keeps]

    @property
    def hash(self) -> str:
        """SHA-256 of every line."""
        return self._hash.hexdigest()

    @property
    def lines(self) -> Sequence[str]:
        """The newest lines."""
        return tuple(self._lines[-self._keeps :])
