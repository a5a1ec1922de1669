"""What fires again and again: rows as they were put, guarded writes, what is due, and who is woken."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from milepost.lifecycle.record import TaskId
from milepost.payload import JsonText
from milepost.schedules.standing import ScheduleState
from milepost.stores.flow_tables import ScheduleRow
from milepost.stores.protocol import Hint, Session, Store
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, holds, refused, same

_EVERYTHING = 1_000


async def a_schedule_reads_as_it_was_inserted(store: Store) -> None:
    moment = NOW.replace(microsecond=123_457)
    state = ScheduleState(
        counted_from=moment,
        handled_until=moment + SECOND,
        next_at=moment + 2 * SECOND,
        first_at=moment + 3 * SECOND,
        queued_at=moment + 4 * SECOND,
        paused_at=moment + 5 * SECOND,
        runs=6,
        skipped=7,
    )
    full = ScheduleRow(
        key="it's ü; --",
        name="send",
        terms_json=JsonText('{"x":[1.0,-0.0,1e16],"ü":"\\u0000"}'),
        request_json=JsonText('{"b":1,"a":{"b":1,"a":2}}'),
        state=state,
        latest_task=TaskId("a task"),
        due_at=moment + 8 * SECOND,
        errors=9,
        error="it's gone: ü",
        revision=10,
    )
    await _insert(store, full, _row("plain"))
    same(await _all(store), [full, _row("plain")], "every schedule")
    same(await _get(store, "plain", full.key, "unknown"), {"plain": _row("plain"), full.key: full}, "two of three keys")
    same(await _get(store), {}, "no keys")


async def schedules_are_told_in_the_order_of_their_keys(store: Store) -> None:
    await _insert(store, *map(_row, ("b", "B", "ü", "", "a")))
    same([row.key for row in await _all(store)], ["", "B", "a", "b", "ü"], "the keys of every schedule")


async def a_key_of_a_schedule_is_taken_once(store: Store) -> None:
    same(await _insert(store, _row("a")), [True], "the answer to a new key")
    same(await _insert(store, _row("a", name="other"), _row("b")), [False, True], "answers to a taken and a new key")
    same(await _all(store), [_row("a"), _row("b")], "every schedule")


async def a_schedule_is_written_while_it_is_as_it_was_read(store: Store) -> None:
    await _insert(store, _row("a"), _row("b"))
    state = attrs.evolve(_row("a").state, runs=1, queued_at=NOW)
    changed = _row("a", terms_json=JsonText("[1]"), state=state, due_at=None, latest_task=TaskId("t"), error="no")
    same(await _write(store, changed), [True], "the answer to a first write")
    same(await _get(store, "a"), {"a": attrs.evolve(changed, revision=1)}, "what was written")
    stale = attrs.evolve(changed, error="stale")
    gone = _row("gone")
    again = attrs.evolve(changed, revision=1, error="")
    same(await _write(store, stale, gone, again), [False, False, True], "answers to a stale, an unknown and a good one")
    same(await _all(store), [attrs.evolve(again, revision=2), _row("b")], "every schedule")


async def a_deleted_schedule_is_gone(store: Store) -> None:
    await _insert(store, *map(_row, "abc"))
    same(sorted(await _delete(store, "c", "unknown", "a", "a")), ["a", "c"], "the keys of what was deleted")
    same(await _delete(store), [], "the keys of nothing")
    same(await _all(store), [_row("b")], "what is left")
    same(await _insert(store, _row("a")), [True], "the answer to a key that is free again")


async def the_longest_due_schedules_come_first(store: Store) -> None:
    dues = {"later": NOW + HOUR, "now": NOW, "old": NOW - HOUR, "never": None, "older": NOW - 2 * HOUR, "b": NOW - HOUR}
    await _insert(store, *(_row(key, due_at=due_at) for key, due_at in dues.items()))
    same(await _due(store), ["older", "b", "old", "now"], "what is due")
    same(await _due(store, limit=2), ["older", "b"], "the first two")
    same(await _due(store, limit=0), [], "the first none")
    same(await _due(store, now=NOW - 2 * HOUR), ["older"], "what was due two hours ago")
    same(await _due(store, now=NOW - 2 * HOUR - SECOND), [], "what was due before that")


async def a_due_schedule_is_told_whole(store: Store) -> None:
    row = _row("a", error="it failed", errors=2, latest_task=TaskId("t"))
    await _insert(store, row)
    same(await store.transact(lambda session: session.schedules.due(now=NOW, limit=1)), [row], "the due schedule")


async def what_is_due_next_is_known(store: Store) -> None:
    same(await _next_due(store), None, "when something is due of nothing")
    await _insert(store, _row("never", due_at=None))
    same(await _next_due(store), None, "when something is due of what never is")
    await _insert(store, _row("later", due_at=NOW + HOUR), _row("soon", due_at=NOW + SECOND))
    same(await _next_due(store), NOW + SECOND, "when something is due")


async def a_schedule_is_woken_if_an_instant_of_it_is_queued(store: Store) -> None:
    queued = _row("queued", state=attrs.evolve(_row("queued").state, queued_at=NOW - HOUR), due_at=None, revision=3)
    paused = _row("free", due_at=None)
    await _insert(store, queued, paused, _row("other", due_at=None))
    await store.transact(lambda session: session.schedules.wake(["free", "queued", "unknown", "queued"], now=NOW))
    await store.transact(lambda session: session.schedules.wake([], now=NOW))
    same(await _due(store), ["queued"], "what is due after waking")
    found = (await _get(store, "queued"))["queued"]
    same(attrs.evolve(found, revision=0), attrs.evolve(queued, due_at=NOW, revision=0), "the schedule that was woken")
    same(await _write(store, queued), [False], "the answer to a decision from before")


async def changes_of_schedules_hint_that_something_is_due(store: Store) -> None:
    queued = _row("a", state=attrs.evolve(_row("a").state, queued_at=NOW))
    watch = store.watch(Hint.DUE)
    await _insert(store, queued)
    holds(await watch.wait(5), "no hint of a schedule that was inserted")
    await _write(store, queued)
    holds(await watch.wait(5), "no hint of a schedule that was written")
    await store.transact(lambda session: session.schedules.wake(["a"], now=NOW))
    holds(await watch.wait(5), "no hint of a schedule that was woken")
    watch.close()


async def changes_of_schedules_that_were_rolled_back_never_were(store: Store) -> None:
    class _Undone(Exception):
        pass

    def change(session: Session) -> None:
        session.schedules.insert(_row("new"))
        session.schedules.write(attrs.evolve(before[0], error="x"))
        session.schedules.wake(["b"], now=NOW)
        session.schedules.delete(["a", "new"])
        raise _Undone

    await _insert(store, _row("a"), _row("b", state=attrs.evolve(_row("b").state, queued_at=NOW), due_at=None))
    before = await _all(store)
    with refused(_Undone, "the check's own exception"):
        await store.transact(change)
    same(await _all(store), before, "every schedule after a rollback")


def _row(key: str, **changes: Any) -> ScheduleRow:
    """A schedule that is due at NOW."""
    state = ScheduleState(counted_from=NOW, handled_until=NOW, next_at=NOW + HOUR)
    plain = ScheduleRow(
        key=key, name="send", terms_json=JsonText("{}"), request_json=JsonText("null"), state=state, due_at=NOW
    )
    return attrs.evolve(plain, **changes)


async def _insert(store: Store, *rows: ScheduleRow) -> list[bool]:
    return await store.transact(lambda session: [session.schedules.insert(row) for row in rows])


async def _write(store: Store, *rows: ScheduleRow) -> list[bool]:
    return await store.transact(lambda session: [session.schedules.write(row) for row in rows])


async def _delete(store: Store, *keys: str) -> list[str]:
    return await store.transact(lambda session: session.schedules.delete(keys))


async def _all(store: Store) -> list[ScheduleRow]:
    return await store.read(lambda session: session.schedules.all())


async def _get(store: Store, *keys: str) -> dict[str, ScheduleRow]:
    return await store.read(lambda session: session.schedules.get(keys))


async def _due(store: Store, *, now: datetime = NOW, limit: int = _EVERYTHING) -> list[str]:
    rows = await store.transact(lambda session: session.schedules.due(now=now, limit=limit))
    return [row.key for row in rows]


async def _next_due(store: Store) -> datetime | None:
    return await store.read(lambda session: session.schedules.next_due())
