"""Tells an executor's observer what happened."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import final

from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import LimitKind
from milepost.telemetry import AttemptEnded, Observation, Observer, TasksLimited

_log = logging.getLogger("milepost.executor")


@final
class Teller:
    """Called with each observation; what the observer raises is logged and goes no further."""

    def __init__(self, observer: Observer | None) -> None:
        self._observer = observer

    @property
    def is_heard(self) -> bool:
        """Whether there is an observer."""
        return self._observer is not None

    def __call__(self, observation: Observation) -> None:
        if self._observer is None:
            return
        try:
            self._observer(observation)
        except Exception:
            _log.exception("the observer raised on %r", observation)

    def limited(self, counts: Mapping[tuple[str, LimitKind], int]) -> None:
        """So many tasks of each name were put back by a turn, for each of their limits."""
        for (name, kind), count in counts.items():
            self(TasksLimited(name, kind, count))

    def ended(self, before: TaskRecord, after: TaskRecord, seconds: float) -> None:
        """An attempt has ended after so many seconds."""
        reason = after.crash.message if after.crash is not None else ""
        self(AttemptEnded(after.id, after.name, before.attempt, after.state, seconds, after.due_at, reason))
