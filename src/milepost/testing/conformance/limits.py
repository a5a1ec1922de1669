"""What is used of limits: rates, and the slots that waiting tasks hold; shares, and the lines of who waits for one."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from milepost.clock import EPOCH
from milepost.lifecycle import events
from milepost.lifecycle.gates import Sharer
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.rates import RateUse
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import LimitKind
from milepost.stores.protocol import Session, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    decided,
    delete,
    get,
    insert,
    numbers,
    open_leases,
    refused,
    same,
    sample,
    task_id,
    write,
)

_ADA = LimitKey("send", "ada")
_BOB = LimitKey("send", "bob")
_ALL = LimitKey("send", "")
_LATER = NOW + HOUR


async def a_rate_that_nobody_used_has_no_use(store: Store) -> None:
    same(await _rates(store, _ADA, _ALL), {_ADA: RateUse(), _ALL: RateUse()}, "the use of two new keys")
    same(await _rates(store), {}, "the use of no keys")


async def a_rate_is_used_up_until_what_was_put_last(store: Store) -> None:
    await _put_rates(store, {_ADA: NOW, _BOB: NOW + SECOND})
    await _put_rates(store, {_ADA: _LATER})
    await store.transact(lambda session: session.limits.put_rates({}))
    found = await _rates(store, _BOB, _ADA, LimitKey("other", "ada"))
    wanted = {_BOB: RateUse(NOW + SECOND), _ADA: RateUse(_LATER), LimitKey("other", "ada"): RateUse()}
    same(found, wanted, "the use of three keys, one of another name")


async def a_use_is_kept_to_the_microsecond(store: Store) -> None:
    moment = NOW.replace(microsecond=123_457)
    await _put_rates(store, {_ADA: moment})
    same((await _rates(store, _ADA))[_ADA].used_until, moment, "until when the rate is used up")


async def a_use_that_was_rolled_back_never_was(store: Store) -> None:
    class _Undone(Exception):
        pass

    def use(session: Session) -> None:
        session.limits.put_rates({_ADA: _LATER, _BOB: _LATER})
        session.limits.forget_rates(before=_LATER + SECOND, limit=1)
        raise _Undone

    await _put_rates(store, {_BOB: NOW})
    with refused(_Undone, "the check's own exception"):
        await store.transact(use)
    same(await _rates(store, _ADA, _BOB), {_ADA: RateUse(), _BOB: RateUse(NOW)}, "the use after a rollback")


async def rates_that_were_used_long_ago_are_forgotten_a_few_at_a_time(store: Store) -> None:
    await _put_rates(store, {LimitKey("send", str(n)): NOW - n * SECOND for n in range(10)})
    forgotten = [
        await store.transact(lambda session: session.limits.forget_rates(before=NOW - 2 * SECOND, limit=4))
        for _ in range(3)
    ]
    same(forgotten, [4, 3, 0], "how many of seven are forgotten at a time")
    left = await _rates(store, *(LimitKey("send", str(n)) for n in range(10)))
    same([n for n in range(10) if left[LimitKey("send", str(n))] != RateUse()], [0, 1, 2], "which are still known")


async def the_last_slot_is_that_of_a_task_that_waits(store: Store) -> None:
    await _wait_for_start(store, sample(1, rate_key="ada"), NOW + 3 * SECOND)
    await _wait_for_start(store, sample(2, rate_key="ada"), NOW + 2 * SECOND)
    await _wait_for_start(store, sample(3, rate_key="bob"), NOW + 9 * SECOND)
    await _wait_for_start(store, sample(4, rate_key="ada", name="other"), NOW + 9 * SECOND)
    same(await _last_slot(store), NOW + 3 * SECOND, "the last slot of two")
    await delete(store, 1)
    same(await _last_slot(store), NOW + 2 * SECOND, "the last slot when the last task was deleted")
    await apply(store, await get(store, task_id(2)), events.CancelRequested("enough"))
    same(await _last_slot(store), EPOCH, "the last slot when nobody waits")


async def a_slot_is_given_up_with_the_claim(store: Store) -> None:
    await _wait_for_start(store, sample(1, rate_key="ada"), NOW + SECOND)
    (claimed,) = await claim(store, now=NOW + SECOND)
    same((claimed.limited_by, claimed.slot_at), (LimitKind.RATE, NOW + SECOND), "what the claim tells of the slot")
    same(await _last_slot(store), EPOCH, "the last slot once its task is claimed")


async def who_waits_without_a_slot_holds_none(store: Store) -> None:
    await _put_back(store, sample(1, rate_key="ada"), events.Limited(LimitKind.RATE, _LATER))
    await _put_back(store, sample(2, rate_key="ada"), events.Limited(LimitKind.CONCURRENCY, _LATER, _LATER))
    same(await _last_slot(store), EPOCH, "the last slot of tasks that wait for something else")


async def running_tasks_are_counted_by_their_key(store: Store) -> None:
    await insert(store, *(sample(n, concurrency_key="ada") for n in range(3)), sample(3, concurrency_key="bob"))
    await insert(store, sample(4), sample(5, concurrency_key="ada", name="other"))
    same(await _running(store, _ADA), {_ADA: 0}, "how many run before a claim")
    await open_leases(store, "ada", until=_LATER)
    claimed = await claim(store, limit=5)
    await claim(store, names={"other": 1})
    same(await _running(store, _ADA, _BOB, _ALL), {_ADA: 3, _BOB: 1, _ALL: 0}, "how many run of each key")
    await apply(store, claimed[0], events.Succeeded(claimed[0].metadata_json))
    await apply(store, claimed[1], events.Suspended(None))
    same(await _running(store, _ADA), {_ADA: 1}, "how many run when one has ended and one waits")


async def those_that_run_with_a_key_are_told_with_their_executors(store: Store) -> None:
    await insert(store, *(sample(n, concurrency_key="ada") for n in (3, 1, 2)), sample(4, concurrency_key="bob"))
    await claim(store, limit=2)
    await claim(store, "bob", limit=1)
    await insert(store, sample(5, concurrency_key="ada"))
    running = [Sharer(task_id(1), "ada"), Sharer(task_id(2), "bob"), Sharer(task_id(3), "ada")]
    for limit, told in ((9, running), (2, running[:2]), (0, [])):
        found = await store.read(partial(_sharers, limit=limit))
        same(found, told, f"up to {limit} of those that run with the key")


def _sharers(session: Session, limit: int) -> list[Sharer]:
    return session.limits.sharers(_ADA, limit=limit)


async def what_a_dead_executor_left_counts_until_it_is_taken_over(store: Store) -> None:
    await insert(store, sample(1, concurrency_key="ada"))
    await open_leases(store, "ada", until=NOW)
    await claim(store)
    await store.transact(lambda session: session.close_lease("ada"))
    same(await _running(store, _ADA), {_ADA: 1}, "how many run of what a dead executor left")
    await claim(store, "bob", now=_LATER)
    same(await _running(store, _ADA), {_ADA: 1}, "how many run once another one has it")


async def the_line_is_by_priority_and_then_by_arrival(store: Store) -> None:
    for n, priority in ((5, 0), (4, 0), (3, 7), (2, -1), (1, 7)):
        await _park(store, sample(n, concurrency_key="ada", priority=priority))
    await _park(store, sample(6, concurrency_key="bob", priority=9))
    same(await _line(store, 9), [3, 1, 5, 4, 2], "the line")
    same(await _line(store, 2), [3, 1], "the head of the line")
    same(await _line(store, 0), [], "nobody of the line")
    heads = await store.transact(lambda session: session.limits.parked({_ADA: 1, _BOB: 1, _ALL: 1}, now=NOW))
    same({key: numbers(head) for key, head in heads.items()}, {_ADA: [3], _BOB: [6]}, "the heads of two lines")


async def a_record_in_the_line_is_whole(store: Store) -> None:
    await _park(store, sample(1, concurrency_key="ada", correlation="é"))
    heads = await store.transact(lambda session: session.limits.parked({_ADA: 1}, now=NOW))
    same(heads[_ADA], [await get(store, task_id(1))], "the record in the line")


async def who_is_let_in_is_out_of_the_line_and_due(store: Store) -> None:
    for n in (1, 2, 3):
        await _park(store, sample(n, concurrency_key="ada"))
    await apply(store, await get(store, task_id(2)), events.LetIn())
    same(await _line(store, 9), [1, 3], "the line without the one that was let in")
    await delete(store, 1)
    await apply(store, await get(store, task_id(3)), events.CancelRequested("enough"))
    same(await _line(store, 9), [], "the line when one is deleted and one cancelled")
    same(numbers(await claim(store)), [2], "who can be claimed")


async def the_one_that_was_let_in_is_claimed_before_who_came_later(store: Store) -> None:
    await _park(store, sample(1, concurrency_key="ada", created_at=NOW - 2 * HOUR))
    await insert(store, sample(2, concurrency_key="ada", due_at=NOW - HOUR))
    await apply(store, await get(store, task_id(1)), events.LetIn())
    same(numbers(await claim(store, limit=1)), [1], "who is claimed first")


async def lines_are_told_in_order_a_few_at_a_time(store: Store) -> None:
    for n, (name, key) in enumerate((("b", "x"), ("a", "y"), ("a", "x"), ("b", "x"), ("a", ""))):
        await _park(store, sample(n, name=name, concurrency_key=key))
    await insert(store, sample(9, name="c", concurrency_key="x"))
    await _wait_for_start(store, sample(10, name="d", rate_key="x", concurrency_key="x"), _LATER)
    everything = [LimitKey("a", ""), LimitKey("a", "x"), LimitKey("a", "y"), LimitKey("b", "x")]
    same(await _lines(store, None, 9), everything, "every line")
    same(await _lines(store, None, 2), everything[:2], "the first lines")
    same(await _lines(store, everything[1], 2), everything[2:], "the lines behind the second")
    same(await _lines(store, everything[3], 2), [], "the lines behind the last")


async def a_task_can_be_given_the_keys_that_it_lacks(store: Store) -> None:
    await insert(store, sample(1))
    await open_leases(store, "ada", until=_LATER)
    (claimed,) = await claim(store)
    after = await apply(store, claimed, events.Keyed("", ""))
    same(await get(store, task_id(1)), after, "the task with its keys")
    await claim(store)
    same(await _running(store, _ALL), {_ALL: 1}, "how many run of its key")


async def a_lock_is_held_by_one_transaction_and_asked_for_again_by_it(store: Store) -> None:
    def twice(session: Session) -> None:
        session.limits.lock([_ADA, _BOB, _ALL])
        session.limits.lock([_BOB])
        session.limits.lock([])

    await store.transact(twice)
    await store.transact(twice)


async def _put_rates(store: Store, used: dict[LimitKey, datetime]) -> None:
    await store.transact(lambda session: session.limits.put_rates(used))


async def _rates(store: Store, *keys: LimitKey) -> dict[LimitKey, RateUse]:
    return await store.transact(lambda session: session.limits.rates(keys))


async def _last_slot(store: Store) -> datetime:
    return (await _rates(store, _ADA))[_ADA].last_slot


async def _running(store: Store, *keys: LimitKey) -> dict[LimitKey, int]:
    return await store.read(lambda session: session.limits.running(keys))


async def _line(store: Store, most: int) -> list[int]:
    heads = await store.transact(lambda session: session.limits.parked({_ADA: most}, now=NOW))
    return numbers(heads.get(_ADA, ()))


async def _lines(store: Store, after: LimitKey | None, limit: int) -> list[LimitKey]:
    return await store.read(lambda session: session.limits.lines(after=after, limit=limit))


async def _park(store: Store, record: TaskRecord) -> None:
    await _put_back(store, record, events.Limited(LimitKind.CONCURRENCY, _LATER))


async def _wait_for_start(store: Store, record: TaskRecord, slot_at: datetime) -> None:
    await _put_back(store, record, events.Limited(LimitKind.RATE, slot_at, slot_at))


async def _put_back(store: Store, record: TaskRecord, event: events.Limited) -> None:
    await open_leases(store, "ada", until=_LATER)
    await insert(store, record)
    claimed = await claim(store, names={record.name: record.version})
    same(numbers(claimed), numbers([record]), "what the check itself claims")
    same(await write(store, decided(claimed[0], event)), [True], "the answer to putting a task back")
