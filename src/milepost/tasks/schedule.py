"""A `Schedule`: a request that is made again and again, under terms. A frozen value; making one stores nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Generic, final

from attrs import field, frozen

from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.schedules.terms import MISFIRE_WINDOW, Misfire, Overlap, Terms
from milepost.schedules.when import When
from milepost.tasks.checks import checked_text
from milepost.tasks.definition import E_co, M_con, R_co, TaskRequest, X_inv
from milepost.text import shown


@final
@frozen
class Schedule(Generic[M_con, X_inv, R_co, E_co]):
    """Enqueues `request` at each instant of `when`; `key` names the schedule, one per store.

    What is missed, what comes too soon, and when it ends, is as `Terms` says. Raises `TaskDefinitionError` for a key
    that is none, `ConfigurationError` for a request with an id, key or start of its own, and for terms out of range.
    """

    key: str = field(validator=lambda _, __, key: _check_key(key))
    request: TaskRequest[M_con, X_inv, R_co, E_co]
    when: When
    misfire: Misfire = field(default=Misfire.ONE, kw_only=True)
    overlap: Overlap = field(default=Overlap.SKIP, kw_only=True)
    run_limit: int | None = field(default=None, kw_only=True)
    until: datetime | None = field(default=None, kw_only=True)
    run_first: datetime | timedelta | None = field(default=None, kw_only=True)
    misfire_window: timedelta = field(default=MISFIRE_WINDOW, kw_only=True)
    terms: Terms = field(init=False, repr=False, eq=False)
    """All but the key and the request, as a store keeps it."""

    def __attrs_post_init__(self) -> None:
        _check_request(self.key, self.request)
        terms = Terms(
            when=self.when,
            misfire=self.misfire,
            overlap=self.overlap,
            run_limit=self.run_limit,
            until=self.until,
            run_first=self.run_first,
            misfire_window=self.misfire_window,
        )
        object.__setattr__(self, "terms", terms)

    def __str__(self) -> str:
        return f"{self.key}: {self.request.task.name}, {self.when}"


def _check_key(key: str) -> None:
    checked_text(key, "key of a schedule")


def _check_request(key: str, request: TaskRequest[Any, Any, Any, Any]) -> None:
    if not is_a(request, TaskRequest):
        raise ConfigurationError(
            f"the schedule {key!r} needs a request, as task.with_metadata(...) gives it, got {shown(request)}"
        )
    own = {
        "an id of its own": (request.id, "leave with_id() out, each firing enqueues another task"),
        "a key of its own": (request.key, "leave with_key() out, the overlap policy says what happens side by side"),
        "a start of its own": (request.start, "leave after() and at() out, the schedule says when"),
    }
    for what, (value, fix) in own.items():
        if value is not None:
            raise ConfigurationError(f"the request of the schedule {key!r} has {what}: {fix}")
