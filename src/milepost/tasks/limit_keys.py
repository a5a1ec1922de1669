"""By which keys a task is counted under its limits: what the key functions of its definition make of its metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from milepost.codec.scalars import shown
from milepost.errors import TaskDefinitionError
from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit, stored_key
from milepost.lifecycle.transition import Policy
from milepost.payload import legible

LimitKeys: TypeAlias = tuple[str | None, str | None]
"""Of the rate limit and of the concurrency limit; None where the definition has no such limit."""

NO_LIMIT_KEYS: LimitKeys = (None, None)


def limit_keys_of(name: str, policy: Policy, metadata: object, *, has_secrets: bool) -> LimitKeys:
    """The keys as they are stored. Raises `TaskDefinitionError` where a key function raises, or gives no text."""
    return (
        _key_of(name, "rate_limit", policy.rate_limit, metadata, has_secrets),
        _key_of(name, "concurrency_limit", policy.concurrency_limit, metadata, has_secrets),
    )


def _key_of(
    name: str, option: str, limit: RateLimit | ConcurrencyLimit | None, metadata: object, has_secrets: bool
) -> str | None:
    if limit is None:
        return None
    if limit.key is None:
        return ""
    function = cast("Callable[[Any], object]", limit.key)
    try:
        key = function(metadata)
    except Exception as error:  # user code: nothing is enqueued, and its author learns which function it was
        told = type(error).__name__ if has_secrets else f"{type(error).__name__}: {legible(error)}"
        raise TaskDefinitionError(
            f"the key function of the {option} of {name!r} raised {told}; it must give a text for every metadata"
        ) from (None if has_secrets else error)
    if not isinstance(key, str):
        told = type(key).__name__ if has_secrets else shown(key)
        raise TaskDefinitionError(
            f"the key function of the {option} of {name!r} gave {told}, which is no text: make it a str"
        )
    return stored_key(key)
