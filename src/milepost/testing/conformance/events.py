"""Named events that were sent: kept until somebody comes to wait for them, known again by their ids, forgotten late."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.payload import JsonText
from milepost.stores.flow_tables import KeptEvent, SentEvent
from milepost.stores.protocol import Session, Store
from milepost.testing.conformance.kit import HOUR, NOW, SECOND, delete, insert, numbers, refused, same, sample

_EVERYTHING = 1_000
_PAID = ("paid", "order 7")


async def an_event_is_taken_once_in_the_order_of_sending(store: Store) -> None:
    await _keep(store, _event("b"), _event("a"), _event("c"))
    same([await _take(store) for _ in range(4)], [_event("b"), _event("a"), _event("c"), None], "what is taken")


async def an_event_is_taken_as_it_was_sent(store: Store) -> None:
    moment = NOW.replace(microsecond=123_457)
    sent = SentEvent("it's ü", "", "'; --", JsonText('{"b":[1.0,-0.0,1e16],"a":"\\u0000"}'), moment, moment + HOUR)
    await _keep(store, sent)
    same(await _take(store, sent.name, sent.key, now=moment), sent, "what is taken")


async def events_of_another_name_or_key_are_left_alone(store: Store) -> None:
    await _keep(store, _event("a", name="other"), _event("a", key="other"), _event("a", name="PAID"))
    same(await _take(store), None, "what is taken")


async def a_delivered_event_is_not_taken(store: Store) -> None:
    await _keep(store, _event("a"), delivered_at=NOW)
    same(await _take(store), None, "what is taken")


async def an_event_is_taken_as_long_as_it_is_kept(store: Store) -> None:
    await _keep(store, _event("a"), _event("b", keep_until=NOW + 2 * HOUR))
    same(await _take(store, now=NOW + HOUR + SECOND), _event("b", keep_until=NOW + 2 * HOUR), "what is not too old")
    same(await _take(store, now=NOW + HOUR), _event("a"), "what is kept until this very moment")


async def an_event_is_known_by_its_id_whether_it_was_delivered_or_not(store: Store) -> None:
    await _keep(store, _event("early"))
    await _keep(store, _event("done"), delivered_at=NOW)
    others = (_event("new"), _event("done", name="other"), _event("done", key="other"))
    same(await _known(store, _event("early"), _event("done")), [True, True], "whether two events are known")
    same(await _known(store, *others), [False, False, False], "whether others are known")
    await _take(store)
    same(await _known(store, _event("early")), [True], "whether an event that was taken is known")


async def an_event_is_known_as_long_as_it_is_kept_and_then_may_be_sent_again(store: Store) -> None:
    await _keep(store, _event("a"), delivered_at=NOW)
    last, late = _event("a", sent_at=NOW + HOUR), _event("a", sent_at=NOW + HOUR + SECOND, keep_until=NOW + 2 * HOUR)
    same(await _known(store, last, late), [True, False], "whether it is known at its last moment, and later")
    await _keep(store, late)
    same(await _known(store, last, late), [True, True], "whether what was sent again is known")
    same([kept.event for kept in await _all(store)], [late], "what is kept")
    same(await _take(store), late, "what is taken")


async def who_waits_for_an_event_is_told_in_the_order_of_ids(store: Store) -> None:
    await insert(store, _waiting(3), _waiting(1), _waiting(2, due_at=NOW + HOUR))
    await insert(store, _waiting(4, awaited_key="other"), _waiting(5, awaited_event="other"))
    await insert(store, sample(6, awaited_event="paid", awaited_key="order 7"))
    await insert(store, sample(7, state=TaskState.SUSPENDED, due_at=None))
    same(await _who_waits(store), [_waiting(1), _waiting(2, due_at=NOW + HOUR), _waiting(3)], "who waits")
    same(numbers(await _who_waits(store, "other", "order 7")), [5], "who waits for another event")
    same(await _who_waits(store, "nothing", ""), [], "who waits for nothing")


async def who_is_deleted_waits_for_nothing(store: Store) -> None:
    await insert(store, _waiting(1), _waiting(2))
    await delete(store, 1)
    same(numbers(await _who_waits(store)), [2], "who waits")


async def old_events_are_forgotten_a_few_at_a_time(store: Store) -> None:
    for n in range(10):
        kept = _event(str(n), keep_until=NOW - n * SECOND)
        await _keep(store, kept, delivered_at=NOW if n % 2 else None)
    forgotten = [await _forget(store, before=NOW - 2 * SECOND, limit=4) for _ in range(3)]
    same(forgotten, [4, 3, 0], "how many were forgotten")
    same([kept.event.id for kept in await _all(store)], ["0", "1", "2"], "what is left")
    same(await _forget(store, before=NOW + HOUR, limit=0), 0, "how many of none were forgotten")
    same(await _forget(store, before=NOW + HOUR, limit=1), 1, "how many of one were forgotten")
    same([kept.event.id for kept in await _all(store)], ["0", "1"], "that the oldest went first")


async def events_are_copied_in_the_order_of_sending(store: Store) -> None:
    await _keep(store, _event("b"), _event("a"))
    await _keep(store, _event("c"), delivered_at=NOW + SECOND)
    await _take(store, now=NOW + 2 * SECOND)
    everything = await _all(store)
    wanted = [(_event("b"), NOW + 2 * SECOND), (_event("a"), None), (_event("c"), NOW + SECOND)]
    same([(kept.event, kept.delivered_at) for kept in everything], wanted, "every event")
    first = await _copied(store, limit=2)
    same([*first, *await _copied(store, after=first[-1].number)], everything, "two pages")
    same(await _copied(store, after=everything[-1].number), [], "a page behind the last event")
    same(await _copied(store, limit=0), [], "a page of nothing")


async def a_lock_of_events_is_held_by_one_transaction_and_asked_for_again_by_it(store: Store) -> None:
    def twice(session: Session) -> None:
        session.events.lock([_PAID, ("paid", "")])
        session.events.lock([_PAID])
        session.events.lock([])

    await store.transact(twice)
    await store.transact(twice)


async def changes_of_events_that_were_rolled_back_never_were(store: Store) -> None:
    class _Undone(Exception):
        pass

    def change(session: Session) -> None:
        session.events.take(*_PAID, now=NOW)
        session.events.keep(_event("b", sent_at=NOW + HOUR), delivered_at=None)
        session.events.keep(_event("new"), delivered_at=NOW)
        session.events.forget(before=NOW + 2 * HOUR, limit=1)
        raise _Undone

    await _keep(store, _event("a"), _event("b"), _event("c"))
    before = await _all(store)
    with refused(_Undone, "the check's own exception"):
        await store.transact(change)
    same(await _all(store), before, "every event after a rollback")
    same([await _take(store) for _ in "abc"], [_event("a"), _event("b"), _event("c")], "what is taken after a rollback")


def _event(id: str, **changes: Any) -> SentEvent:
    """An event of an hour that was sent just now."""
    return attrs.evolve(SentEvent(*_PAID, id, JsonText(f'"{id}"'), NOW, NOW + HOUR), **changes)


def _waiting(n: int, **changes: Any) -> TaskRecord:
    waits = {"state": TaskState.SUSPENDED, "due_at": None, "awaited_event": "paid", "awaited_key": "order 7"}
    return sample(n, **{**waits, **changes})


async def _keep(store: Store, *events: SentEvent, delivered_at: datetime | None = None) -> None:
    def keep(session: Session) -> None:
        for event in events:
            session.events.keep(event, delivered_at=delivered_at)

    await store.transact(keep)


async def _take(store: Store, name: str = "paid", key: str = "order 7", *, now: datetime = NOW) -> SentEvent | None:
    return await store.transact(lambda session: session.events.take(name, key, now=now))


async def _known(store: Store, *events: SentEvent) -> list[bool]:
    return await store.read(lambda session: [session.events.is_known(event) for event in events])


async def _who_waits(store: Store, name: str = "paid", key: str = "order 7") -> list[TaskRecord]:
    return await store.transact(lambda session: session.events.waiting(name, key))


async def _forget(store: Store, *, before: datetime, limit: int) -> int:
    return await store.transact(lambda session: session.events.forget(before=before, limit=limit))


async def _copied(store: Store, *, after: int = 0, limit: int = _EVERYTHING) -> list[KeptEvent]:
    return await store.read(lambda session: session.events.copy_out(after, limit=limit))


async def _all(store: Store) -> list[KeptEvent]:
    return await _copied(store)
