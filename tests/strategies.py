"""The one home of Hypothesis strategies: JSON values, payload texts, events, and sound records in every state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from hypothesis import strategies as st

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.change import Transition
from milepost.lifecycle.children import ChildCount
from milepost.lifecycle.events import Event
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.retry import Retry
from milepost.lifecycle.states import FINAL_STATES, LIVE_STATES, WAITING_STATES, LimitKind, TaskState
from milepost.lifecycle.ties import Join, Tie
from milepost.lifecycle.transition import Policy, transition
from milepost.payload import Json, JsonText, to_json_text
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.testing.conformance.kit import task_id

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def storable_text(max_size: int = 20) -> st.SearchStrategy[str]:
    """Text that every database holds: no NUL, no halves of surrogate pairs."""
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=max_size)


def json_values(max_leaves: int = 12) -> st.SearchStrategy[Json]:
    """JSON values that may be stored; floats are finite."""
    scalars: st.SearchStrategy[Json] = (
        st.none()
        | st.booleans()
        | st.integers(-(2**70), 2**70)
        | st.floats(allow_nan=False, allow_infinity=False)
        | storable_text()
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(storable_text(6), inner, max_size=4),
        max_leaves=max_leaves,
    )


def payload_texts() -> st.SearchStrategy[JsonText]:
    """Canonical JSON texts."""
    return json_values().map(lambda value: to_json_text(value).unwrap())


def moments() -> st.SearchStrategy[datetime]:
    """Instants in UTC, around `NOW` more often than far away."""
    near = st.integers(-3, 3).map(lambda n: NOW + n * timedelta(seconds=1))
    far = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
    return near | far


def delays() -> st.SearchStrategy[timedelta]:
    """How long to wait: nothing, a little, or more than any calendar has."""
    return st.timedeltas(timedelta(0), timedelta(days=400)) | st.sampled_from([timedelta(0), timedelta.max])


def short_payloads() -> st.SearchStrategy[JsonText]:
    """A few payload texts, for tests in which only their being the same matters."""
    return st.sampled_from([JsonText(text) for text in ("null", "{}", '{"page":1}', '{"page":2}', '"é"')])


def crashes() -> st.SearchStrategy[Crash]:
    """Any end that the task did not choose."""
    return st.builds(Crash, st.sampled_from(CrashKind), storable_text(4), st.sampled_from(["", "ValueError"]))


def run_events() -> st.SearchStrategy[Event]:
    """What can happen to a task that runs."""
    return st.one_of(
        st.builds(events.Committed, short_payloads()),
        st.builds(events.Succeeded, short_payloads()),
        st.builds(
            events.Suspended,
            st.none() | short_payloads(),
            st.none() | moments() | delays(),
            at_once=st.booleans(),
            join=st.none() | st.sampled_from(Join),
            enqueues=st.booleans(),
        ),
        waits_for_events(),
        st.builds(events.Failed, short_payloads(), st.booleans(), st.booleans(), st.none() | delays()),
        st.builds(events.GaveUp, short_payloads()),
        st.builds(events.Crashed, crashes(), st.booleans()),
        st.builds(events.DeadlineMissed),
        st.builds(events.StartMissed),
        st.builds(events.Interrupted),
        st.builds(events.Undecodable, storable_text()),
        st.builds(events.Deferred, delays()),
        st.builds(events.Limited, st.sampled_from(LimitKind), moments(), st.none() | moments()),
        st.builds(events.OverLimit, st.sampled_from(LimitKind), storable_text(4)),
        st.builds(events.Stalled),
        st.builds(events.CancelObeyed),
    )


def any_events() -> st.SearchStrategy[Event]:
    """What can happen to a task at all."""
    return st.one_of(
        run_events(),
        outside_events(),
        st.builds(events.Claimed, storable_text(4), storable_text(4)),
    )


def policies() -> st.SearchStrategy[Policy]:
    """Retry policies of each kind, with small and large budgets."""
    retries = st.one_of(
        st.builds(Retry.never),
        st.builds(Retry.default),
        st.builds(Retry.fixed, st.integers(0, 5), delays()),
        st.builds(Retry.exponential, st.integers(0, 10_000), st.timedeltas(timedelta(0), timedelta(days=2))),
    )
    return st.builds(Policy, retries, st.integers(1, 10_000))


def outside_events() -> st.SearchStrategy[Event]:
    """What somebody outside can do to a task."""
    return st.one_of(
        st.builds(events.CancelRequested, storable_text(4), storable_text(4), tree=st.booleans()),
        st.builds(
            events.Requeued, st.booleans(), storable_text(4), storable_text(4), st.none() | edits(), st.booleans()
        ),
        st.builds(events.ChildrenEnded, child_counts()),
        st.builds(events.ChildFailed),
        st.builds(events.Awaited),
        st.builds(events.Received, short_payloads()),
        st.builds(events.Proceeded, st.none() | short_payloads(), st.none() | moments()),
    )


def waits_for_events() -> st.SearchStrategy[events.Suspended]:
    """A task's answer that it waits for one of a few named events."""
    return st.builds(
        events.Suspended, st.none() | short_payloads(), st.none() | delays(), event=event_names(), key=event_keys()
    )


def event_names() -> st.SearchStrategy[str]:
    """Few names of events, so that those who send and those who wait meet."""
    return st.sampled_from(["paid", "shipped"])


def event_keys() -> st.SearchStrategy[str]:
    """Few keys of events."""
    return st.sampled_from(["a", "b"])


def child_counts() -> st.SearchStrategy[ChildCount]:
    """How the children of a task may have ended, all of them."""
    counts = st.integers(0, 3)
    return st.builds(ChildCount, unfinished=st.just(0), completed=counts, failed=counts, cancelled=counts)


def edits() -> st.SearchStrategy[events.Edited]:
    """What an operator may make of a request."""
    return st.builds(events.Edited, short_payloads(), short_payloads(), st.integers(1, 3))


def seconds() -> st.SearchStrategy[timedelta]:
    """A few seconds back or on."""
    return st.integers(-3, 5).map(lambda n: timedelta(seconds=n))


def names() -> st.SearchStrategy[str]:
    """Few names, so that they meet."""
    return st.sampled_from(["send", "bill"])


def queues() -> st.SearchStrategy[str]:
    """Few queues, so that they meet."""
    return st.sampled_from(["default", "slow"])


def keys() -> st.SearchStrategy[str]:
    """Few keys, so that they meet."""
    return st.sampled_from(["a", "b", ""])


def known_names() -> st.SearchStrategy[dict[str, int]]:
    """What an executor can run: names with the highest version that it knows."""
    return st.dictionaries(names(), st.integers(1, 3), min_size=1)


def nth_id(n: int) -> TaskId:
    """The id of the n-th task that a test inserts. Ids that do not grow show a store that takes them for the order."""
    return task_id(n * 7919 % 100_003)


def nth(n: int, task: TaskRecord) -> TaskRecord:
    """A new task with all that no two tasks have: its id, its place with its parent and its instant."""
    place = None if task.parent is None else f"1.1.{n}"
    instant = None if task.schedule is None else NOW + n * timedelta(microseconds=1)
    return attrs.evolve(task, id=nth_id(n), parent_position=place, schedule_at=instant)


def parents() -> st.SearchStrategy[TaskId]:
    """A few of the tasks that are inserted first."""
    return st.integers(1, 8).map(nth_id)


def schedules() -> st.SearchStrategy[str]:
    """Few schedules, so that they meet."""
    return st.sampled_from(["nightly", ""])


def ties() -> st.SearchStrategy[Tie]:
    """Any ties, more often none."""
    return st.just(Tie.NONE) | st.integers(0, (~Tie.NONE).value).map(Tie)


@st.composite
def new_tasks(draw: st.DrawFn) -> TaskRecord:
    """A new task; it differs from others in whatever a claim or a search looks at. What no two have is to be given."""
    return TaskRecord(
        id=TaskId(""),
        name=draw(names()),
        version=draw(st.integers(1, 3)),
        queue=draw(queues()),
        priority=draw(st.integers(-1, 1)),
        key=draw(st.none() | keys()),
        correlation=draw(st.none() | keys()),
        audit=draw(st.sampled_from(Audit)),
        metadata_json=draw(short_payloads()),
        deadline_seconds=draw(st.none() | st.sampled_from([0.5, 1e300])),
        created_at=NOW,
        due_at=NOW - draw(seconds()),  # more often due than not
        parent=draw(st.none() | parents()),
        schedule=draw(st.none() | schedules()),
        ties=draw(ties()),
    )


def task_filters() -> st.SearchStrategy[TaskFilter]:
    """Filters with any few conditions."""
    return st.builds(
        TaskFilter,
        names=st.none() | st.lists(names(), max_size=2).map(tuple),
        states=st.none() | st.lists(st.sampled_from(TaskState), max_size=4).map(tuple),
        queues=st.none() | st.lists(queues(), max_size=2).map(tuple),
        keys=st.none() | st.lists(keys(), max_size=2).map(tuple),
        correlations=st.none() | st.lists(keys(), max_size=2).map(tuple),
        parents=st.none() | st.lists(parents(), max_size=2).map(tuple),
        schedules=st.none() | st.lists(schedules(), max_size=2).map(tuple),
        metadata=st.lists(short_payloads(), max_size=1).map(tuple),
        execution_metadata=st.lists(short_payloads(), max_size=1).map(tuple),
        created_from=st.none() | moments(),
        due_from=st.none() | moments(),
        due_before=st.none() | moments(),
        finished_from=st.none() | moments(),
        finished_before=st.none() | moments(),
        texts=st.none() | st.lists(st.sampled_from(["SEND", "a", "Page", "1", "é"]), max_size=2).map(tuple),
        order=st.sampled_from(TaskOrder),
    )


_FAIL_FAST = (Join.ALL_SUCCEEDED_FAIL_FAST, Join.ALL_FINISHED_FAIL_FAST)
_KEEPS_A_PROCEED = LIVE_STATES - {TaskState.SUSPENDED}
_MAY_BE_LIMITED = frozenset({TaskState.PENDING, TaskState.RUNNING})


def _limit_keys() -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(["", "ada", "é"])


@st.composite
def records(draw: st.DrawFn, /, *, state: TaskState | None = None, **fixed: Any) -> TaskRecord:
    """A sound record: whatever `lifecycle.invariants` says of its state holds."""
    chosen = draw(st.sampled_from(TaskState)) if state is None else state
    cancelling = draw(st.booleans()) if chosen is TaskState.RUNNING else False
    awaited = draw(st.none() | st.sampled_from(["paid", ""]))
    counters = st.integers(0, 12)
    metadata = draw(short_payloads())
    record = TaskRecord(
        id=TaskId(f"01890000-0000-7000-8000-{draw(st.integers(0, 2**40)):012x}"),
        name=draw(st.sampled_from(["send", "bill", "é"])),
        version=draw(st.integers(1, 3)),
        queue=draw(st.sampled_from(["default", "slow"])),
        priority=draw(st.integers(-2, 2)),
        key=draw(st.none() | storable_text(4)),
        correlation=draw(st.none() | storable_text(4)),
        audit=draw(st.sampled_from(Audit)),
        state=chosen,
        metadata_json=metadata,
        execution_metadata_json=draw(short_payloads()),
        initial_execution_metadata_json=metadata,
        fence=draw(counters) + 1,
        token=draw(storable_text()),
        executor="ada" if chosen is TaskState.RUNNING else None,
        revision=draw(counters),
        sequence=draw(counters),
        epoch=draw(counters) + 1,
        failures=draw(counters),
        stalls=draw(st.integers(0, 9_999)),
        interruptions=draw(counters),
        cancel_requested_at=NOW if cancelling else None,
        cancel_reason=draw(storable_text()) if cancelling else None,
        deadline_seconds=draw(st.none() | st.floats(0, 1e12)),
        deadline_at=draw(st.none() | moments()),
        start_by=draw(st.none() | moments()),
        early_proceed_at=draw(st.none() | moments()) if chosen in _KEEPS_A_PROCEED else None,
        rate_key=draw(_limit_keys()),
        concurrency_key=draw(_limit_keys()),
        limited_by=draw(st.none() | st.sampled_from(LimitKind)) if chosen in _MAY_BE_LIMITED else None,
        slot_at=draw(st.none() | moments()) if chosen in _MAY_BE_LIMITED else None,
        parent=draw(st.none() | parents()),
        schedule=draw(st.none() | schedules()),
        ties=draw(ties()),
        join=draw(st.none() | st.sampled_from(Join)) if chosen is not TaskState.SUSPENDED else None,
        awaited_event=awaited,
        awaited_key=None if awaited is None else draw(keys()),
        received_json=None if awaited is None else draw(st.none() | short_payloads()),
        created_at=draw(moments()),
        due_at=draw(_due_times(chosen)),
        finished_at=draw(moments()) if chosen in FINAL_STATES else None,
    )
    return attrs.evolve(record, **_outcome(draw, chosen), **fixed)


@st.composite
def changes(draw: st.DrawFn) -> Transition:
    """A transition that was not refused, of any kind, from a sound record."""
    event = draw(any_events())
    fixed: dict[str, Any] = {}
    match event:
        case events.ChildrenEnded() | events.ChildFailed():
            state = TaskState.SUSPENDED
            fixed = {"due_at": None, "awaited_event": None, "join": draw(st.sampled_from(_FAIL_FAST))}
        case events.Received():
            state = TaskState.SUSPENDED
            fixed = {"awaited_event": draw(event_names()), "awaited_key": draw(event_keys()), "received_json": None}
        case events.Awaited():
            state = draw(st.sampled_from(sorted(LIVE_STATES, key=str)))
        case events.Claimed():
            state = draw(st.sampled_from([*sorted(WAITING_STATES, key=str), TaskState.RUNNING]))
        case events.CancelRequested():
            state = draw(st.sampled_from(sorted(LIVE_STATES, key=str)))
        case events.Proceeded(execution_metadata=None):
            state = draw(st.sampled_from([*sorted(WAITING_STATES, key=str), TaskState.RUNNING, TaskState.SUSPENDED]))
        case events.Proceeded():
            state = TaskState.SUSPENDED
        case events.Requeued():
            state = draw(st.sampled_from([*sorted(FINAL_STATES, key=str), TaskState.QUARANTINED]))
        case _:
            state = TaskState.RUNNING
    record = attrs.evolve(draw(records(state=state)), **fixed)
    decision = transition(record, event, now=draw(moments()), policy=draw(policies()))
    assert isinstance(decision, Transition)
    return decision


def _due_times(state: TaskState) -> st.SearchStrategy[datetime | None]:
    if state in WAITING_STATES:
        return moments()
    return st.none() | moments() if state is TaskState.SUSPENDED else st.none()


def _outcome(draw: st.DrawFn, state: TaskState) -> dict[str, Any]:
    match state:
        case TaskState.COMPLETED:
            return {"result_json": draw(short_payloads())}
        case TaskState.FAILED | TaskState.CANCELLED:
            typed = draw(st.booleans())
            return {"error_json": draw(short_payloads())} if typed else {"crash": draw(crashes())}
        case TaskState.QUARANTINED:
            return {"crash": draw(crashes())}
        case _:
            return {}
