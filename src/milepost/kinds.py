"""`isinstance` for what annotations promise and callers may not keep to; checkers take the plain one for a mistake."""

from __future__ import annotations

from types import UnionType


def is_a(value: object, kind: type | UnionType) -> bool:
    """Whether `value` is of this kind, whatever its annotation says."""
    return isinstance(value, kind)
