"""What is shown in the place of a field that cannot be read, so that the listing it stands in goes on."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Final

from milepost.lifecycle.record import HistoryEvent, HistoryKind
from milepost.lifecycle.states import TaskState
from milepost.payload import from_json_text

_KINDS: Final = MappingProxyType({kind.value: kind for kind in HistoryKind})
_STATES: Final = MappingProxyType({state.value: state for state in TaskState})
_CHARACTERS_MAX: Final = 50


def history_event(
    at: datetime, kind: str, state: str, attempt: int, executor: str | None, reason: str, by: str | None
) -> HistoryEvent:
    """A line of history; where its kind or state cannot be read, it is one of a commit, and its reason says so."""
    if kind not in _KINDS or state not in _STATES:
        reason = f"cannot be read: {kind[:_CHARACTERS_MAX]!r}, {state[:_CHARACTERS_MAX]!r}; {reason}"
    known, into = _KINDS.get(kind, HistoryKind.COMMITTED), _STATES.get(state, TaskState.RUNNING)
    return HistoryEvent(at, known, into, attempt, executor, reason, by or "")


def known_tasks(text: str) -> dict[str, int]:
    """The versions of tasks that a lease tells of; none where they cannot be read."""
    told = from_json_text(text).value_or(None)
    if not isinstance(told, dict):
        return {}
    return {name: version for name, version in told.items() if type(version) is int}


def served_queues(text: str) -> tuple[str, ...]:
    """The queues that a lease tells of; none where they cannot be read."""
    told = from_json_text(text).value_or(None)
    return tuple(name for name in told if isinstance(name, str)) if isinstance(told, list) else ()
