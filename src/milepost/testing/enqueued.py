"""Was it enqueued? Asked of a result, of a recorded run, or of a whole store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs

from milepost.errors import TaskDefinitionError
from milepost.kinds import is_a
from milepost.lifecycle.record import TaskRecord
from milepost.payload import PayloadRefused
from milepost.results import FollowUp
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session, Store
from milepost.tasks import AnyTask, Task, TaskRequest
from milepost.tasks.group import TaskGroup

AnyRequest: TypeAlias = "TaskRequest[Any, Any, Any, Any]"
_Said: TypeAlias = Mapping[str, object]

_SHOWN_MAX: Final = 10
_RECORDS_MAX: Final = 10_000


class Enqueuing(Protocol):
    """What has follow-ups: a result, a `Run`, a `RunToEnd`."""

    @property
    def follow_ups(self) -> tuple[FollowUp, ...]:
        """What it enqueues."""
        ...


def assert_enqueued(where: Store | Enqueuing, *expected: AnyTask | AnyRequest) -> None:
    """Raise AssertionError, which shows what was enqueued instead, unless all of `expected` were.

    `where` is a result, what `run_once` or `run_to_end` gave, or a store, of which every task counts, whatever has
    become of it. Each of `expected` needs one of its own: a task any request for it, a request one with equal metadata,
    and with all that it says besides: execution metadata, key, correlation, queue, priority, id and, but for stores,
    its start.

    Raises `TaskDefinitionError` for what is neither a task nor a request.
    """
    __tracebackhide__ = True
    found = _in_store(where) if _is_store(where) else [_said(each) for each in _requests(cast("Any", where).follow_ups)]
    unmatched = list(found)
    wanted = [(each, _wanted(each, in_store=_is_store(where))) for each in expected]
    # Who asks for most chooses first, so that a bare task does not take what a request needs.
    for each, said in sorted(wanted, key=lambda pair: -len(pair[1])):
        match = next((number for number, seen in enumerate(unmatched) if not _differing(said, seen)), None)
        if match is None:
            raise AssertionError("\n".join(_told(each, said, unmatched)))
        del unmatched[match]


def _is_store(where: object) -> bool:
    return callable(getattr(where, "read_blocking", None))


def _requests(follow_ups: Iterable[FollowUp]) -> Iterator[AnyRequest]:
    for each in follow_ups:
        if isinstance(each, TaskGroup):
            yield from _requests((*each.members, *filter(None, [each.then])))
        elif isinstance(each, TaskRequest):
            yield each


def _in_store(store: Any) -> list[_Said]:
    def look(session: Session) -> list[TaskRecord]:
        return session.search(TaskFilter(), limit=_RECORDS_MAX)

    return [
        {
            "name": record.name,
            "metadata": record.metadata_json,
            "execution_metadata": record.initial_execution_metadata_json,
            "key": record.key,
            "correlation": record.correlation,
            "queue": record.queue,
            "priority": record.priority,
            "id": record.id,
        }
        for record in reversed(store.read_blocking(look))
    ]


def _said(request: AnyRequest) -> dict[str, object]:
    draft = request.draft()
    if isinstance(draft, PayloadRefused):
        raise TaskDefinitionError(f"{request.task.name!r} cannot store its request: {draft}")
    return {
        "name": draft.name,
        "metadata": draft.metadata_json,
        "execution_metadata": draft.execution_metadata_json,
        "key": draft.key,
        "correlation": draft.correlation,
        "queue": draft.queue,
        "priority": draft.priority,
        "start": draft.start,
        "id": request.id,
    }


def _wanted(expected: AnyTask | AnyRequest, *, in_store: bool) -> dict[str, object]:
    """What must be equal: all that was said of it."""
    if not isinstance(expected, TaskRequest):
        if not is_a(expected, Task):
            raise TaskDefinitionError(
                f"assert_enqueued takes tasks, and requests as task.with_metadata(...) gives them, got {expected!r}"
            )
        return {"name": expected.name}
    said = _said(expected)
    optional = ("key", "correlation", "queue", "priority", "start", "id")
    left_out = [name for name in optional if getattr(expected, name) is None]
    if expected.execution_metadata is attrs.fields(TaskRequest).execution_metadata.default:
        left_out.append("execution_metadata")
    if in_store:
        left_out.append("start")
    return {name: value for name, value in said.items() if name not in left_out}


def _differing(wanted: _Said, seen: _Said) -> list[str]:
    return [name for name, value in wanted.items() if seen[name] != value]


def _told(expected: object, wanted: _Said, found: Sequence[_Said]) -> Iterator[str]:
    yield f"not enqueued: {_line(wanted)}"
    if not found:
        yield "nothing was, or nothing else"
        return
    yield "what was, besides what was found already:"
    nearest = sorted(found, key=lambda seen: (seen["name"] != wanted["name"], len(_differing(wanted, seen))))
    for seen in nearest[:_SHOWN_MAX]:
        other = f"   (another {', '.join(_differing(wanted, seen))})" if seen["name"] == wanted["name"] else ""
        shown = {name: seen[name] for name in wanted} | {"metadata": seen["metadata"]}
        yield f"  {_line(shown)}{other}"
    if len(found) > _SHOWN_MAX:
        yield f"  and {len(found) - _SHOWN_MAX} more"


def _line(said: _Said) -> str:
    rest = [f"{name}={value}" for name, value in said.items() if name not in ("name", "metadata")]
    return " ".join([str(said["name"]), str(said.get("metadata", "")), *rest]).strip()
