"""Ids that sort by time of creation: UUID version 7, made by whoever enqueues, so that a request can be replayed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils.compat import uuid7

_uuid7: Callable[[], UUID] = uuid7


def new_id() -> str:
    """A fresh id as text; later ones of one process sort after earlier ones."""
    return str(_uuid7())
