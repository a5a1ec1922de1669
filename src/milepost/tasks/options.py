"""The options of `@task`, for tasks that are built without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

from milepost.lifecycle.limits import ConcurrencyLimit, RateLimit
from milepost.lifecycle.record import Audit
from milepost.lifecycle.retry import Retry
from milepost.tasks.definition import Upgrade
from milepost.tasks.group import GroupMember


class CommonOptions(TypedDict, total=False):
    """What `@task` takes of every function, besides the name."""

    version: int
    upgrades: Mapping[int, Upgrade] | None
    retry: Retry | None
    timeout_seconds: float | None
    deadline_seconds: float | None
    start_within_seconds: float | None
    queue: str
    priority: int
    rate_limit: RateLimit | None
    concurrency_limit: ConcurrencyLimit | None
    payload_bytes_max: int | None
    audit: Audit | None


class TaskOptions(CommonOptions, total=False):
    """What `@task` takes besides the name; each means the same here. Not how a function is called: a machine awaits."""

    on_outcome: Callable[..., Sequence[GroupMember]] | None
