"""What a supervisor tells a worker over the socket between them, and what it hears: lines of JSON, then single bytes.

The settings do not go by the worker's arguments, which everybody on the machine can read: a URL may hold a password.
"""

from __future__ import annotations

import json
from typing import Any, Final, final

import attrs
from attrs import frozen

from milepost.executor import ExecutorConfig

DRAIN: Final = b"d"
INTERRUPT: Final = b"i"


@final
@frozen
class WorkOrder:
    """All that a worker needs to know."""

    app: str
    store: str
    config: ExecutorConfig

    def to_line(self) -> bytes:
        """As it goes over the socket."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> WorkOrder:
        """What `to_line` was."""
        parts: dict[str, Any] = json.loads(line)
        return cls(parts["app"], parts["store"], ExecutorConfig(**parts["config"]))


@final
@frozen
class Ready:
    """A worker's answer once it holds its lease. The store's URL comes back without secrets."""

    executor: str
    store: str
    tasks: int

    def to_line(self) -> bytes:
        """As it goes over the socket."""
        return json.dumps(attrs.asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Ready:
        """What `to_line` was."""
        return cls(**json.loads(line))
