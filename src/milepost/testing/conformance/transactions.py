"""All or nothing, one after the other, from trio and from threads, and nothing after the store is closed."""

from __future__ import annotations

import time
from datetime import timedelta

import trio

from milepost.errors import EffectTimeout, StoreClosed, StoreError
from milepost.lifecycle import events
from milepost.lifecycle.record import Audit
from milepost.payload import JsonText
from milepost.stores.protocol import ANY_HINT, ClaimOrder, Report, Session, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    claim,
    claim_one,
    decided,
    dump,
    get,
    history,
    holds,
    insert,
    numbers,
    open_leases,
    refused,
    same,
    sample,
    sample_lease,
    samples,
    task_id,
    unchanged,
    write,
)

_X = JsonText("1")


class _Mishap(Exception):
    """What the checks raise inside a transaction."""


async def a_transaction_returns_the_value_of_its_function(store: Store) -> None:
    value = object()
    holds(await store.transact(lambda session: value) is value, "transact returns something else")
    holds(await store.read(lambda session: value) is value, "read returns something else")
    holds(store.transact_blocking(lambda session: value) is value, "transact_blocking returns something else")
    holds(store.read_blocking(lambda session: value) is value, "read_blocking returns something else")


async def what_a_transaction_raises_reaches_the_caller(store: Store) -> None:
    mishap = _Mishap("as it is")

    def fail(session: Session) -> None:
        raise mishap

    for call in (store.transact, store.read):
        try:
            await call(fail)
        except _Mishap as error:
            same(error.args, mishap.args, "the exception that the caller gets")
        else:
            raise AssertionError("a function's exception does not reach its caller")


async def a_failed_transaction_undoes_everything(store: Store) -> None:
    await _furnish(store)
    before = await dump(store)
    with refused(_Mishap, "a transaction that raises"):
        await store.transact(_change_everything_and_fail)
    await unchanged(store, before, "after a transaction that failed")
    with refused(_Mishap, "a transaction that raises in a thread"):
        await trio.to_thread.run_sync(store.transact_blocking, _change_everything_and_fail)
    await unchanged(store, before, "after a transaction that failed in a thread")
    same(sorted(numbers(await claim(store, "bob"))), [3, 4], "what can be claimed after it")
    with refused(StoreError, "a key that was held before the failed transaction"):
        await insert(store, sample(9, key="k4"))
    await insert(store, sample(50, key="k50"))


async def a_committed_transaction_keeps_everything(store: Store) -> None:
    def several(session: Session) -> None:
        session.insert([sample(1), sample(2)])
        session.open_lease(sample_lease("ada"))
        session.delete([task_id(2)])
        session.claim(ClaimOrder("ada", "default", {"send": 1}, 1), now=NOW)

    await store.transact(several)
    after = await dump(store)
    same([record.state.value for record in after.records], ["running"], "the states after one transaction")
    same([lease.executor for lease in after.leases], ["ada"], "the leases after it")


async def a_broken_neighbour_does_not_disturb_transactions_beside_it(store: Store) -> None:
    await _furnish(store)
    before = await dump(store)
    failed: list[int] = []

    async def call(n: int) -> None:
        if n % 4 == 2:
            with refused(_Mishap, "a transaction that raises"):
                await store.transact(_change_everything_and_fail)
            failed.append(n)
        else:
            await insert(store, sample(n))

    async with trio.open_nursery() as nursery:
        for n in range(100, 140):
            nursery.start_soon(call, n)
    same(len(failed), 10, "how many transactions failed")
    after = await dump(store)
    wanted = [n for n in range(100, 140) if n % 4 != 2]
    same(
        numbers(after.records),
        [*numbers(before.records), *wanted],
        "the tasks after thirty inserts beside ten failures",
    )
    same(after.records[: len(before.records)], before.records, "the tasks from before")
    same(after.leases, before.leases, "the leases from before")


async def a_transaction_alone_is_like_any_other(store: Store) -> None:
    async def call(n: int) -> None:
        await store.transact(lambda session: session.insert([sample(n)]), alone=n % 2 == 0)

    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(call, n)
    same(numbers((await dump(store)).records), list(range(20)), "tasks of transactions alone and together")


async def transactions_happen_one_after_the_other(store: Store) -> None:
    claimed = await claim_one(store, sample(1, audit=Audit.FULL))

    def commit(session: Session) -> list[bool]:
        (record,) = session.get([claimed.id])
        return session.write([decided(record, events.Committed(JsonText(str(record.sequence))))])

    async def commit_often() -> None:
        for _ in range(10):
            same(await store.transact(commit), [True], "a commit on what the same transaction read")

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(commit_often)
    record = await get(store, claimed.id)
    same((record.sequence, record.execution_metadata_json), (50, "49"), "fifty commits of five callers")
    same(len(await history(store, claimed.id)), 2 + 50, "their history")


async def a_session_sees_its_own_changes(store: Store) -> None:
    def look(session: Session) -> list[int]:
        session.insert(samples(1, 2))
        session.delete([task_id(1)])
        return numbers(session.get([task_id(1), task_id(2)]))

    same(await store.transact(look), [2], "what a transaction reads after its own insert and delete")


async def a_read_sees_what_was_committed(store: Store) -> None:
    await insert(store, sample(1))
    same(numbers(await store.read(lambda s: s.get([task_id(1)]))), [1], "a read after transact")
    store.transact_blocking(lambda session: session.insert([sample(2)]))
    same(numbers(store.read_blocking(lambda s: s.get([task_id(2)]))), [2], "read_blocking after transact_blocking")


async def a_read_changes_nothing(store: Store) -> None:
    await _furnish(store)
    before = await dump(store)
    with refused(StoreError, "an insert inside read"):
        await store.read(lambda session: session.insert([sample(77)]))
    with refused(StoreError, "changes inside read"):
        await store.read(_change_everything)
    await unchanged(store, before, "after a read that tried to write")


async def a_transaction_may_run_in_any_thread(store: Store) -> None:
    def insert_one(n: int) -> None:
        store.transact_blocking(lambda session: session.insert([sample(n)]))
        store.read_blocking(lambda session: session.get([task_id(n)]))

    async with trio.open_nursery() as nursery:
        for n in range(8):
            nursery.start_soon(trio.to_thread.run_sync, insert_one, n)
            nursery.start_soon(insert, store, sample(n + 100))
    same(len((await dump(store)).records), 16, "how many tasks came from threads and from trio")


async def a_cancelled_caller_in_the_queue_changes_nothing(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await insert(store, sample(1))
    holds(scope.cancelled_caught, "a cancelled caller is served")
    same((await dump(store)).records, [], "what a cancelled caller wrote")


async def a_call_that_has_started_is_answered_in_spite_of_a_cancel(store: Store) -> None:
    token = trio.lowlevel.current_trio_token()
    answers: list[str] = []
    with trio.CancelScope() as scope:

        def cancelled_meanwhile(session: Session) -> str:
            token.run_sync_soon(scope.cancel)
            session.insert([sample(1)])
            return "written"

        answers.append(await store.transact(cancelled_meanwhile))
        await trio.lowlevel.checkpoint()
    same(answers, ["written"], "the answer to a caller that was cancelled while its function ran")
    same(numbers((await dump(store)).records), [1], "what it wrote")


async def a_transaction_that_takes_too_long_is_rolled_back(store: Store) -> None:
    before = await dump(store)
    for alone in (False, True):
        with refused(EffectTimeout, "a transaction that takes too long"):
            await store.transact(_insert_slowly, alone=alone, within_seconds=0.001)
        await unchanged(store, before, "after a transaction that took too long")
    with refused(EffectTimeout, "a blocking transaction that takes too long"):
        await trio.to_thread.run_sync(lambda: store.transact_blocking(_insert_slowly, within_seconds=0.001))
    await unchanged(store, before, "after a blocking transaction that took too long")
    await store.transact(_insert_slowly, within_seconds=60)
    same(numbers((await dump(store)).records), [1], "after one that was quick enough")


async def now_is_aware_in_utc_and_never_goes_back(store: Store) -> None:
    moments = [await store.transact(lambda session: session.now()) for _ in range(20)]
    moments += [await store.transact(lambda session: session.now(), alone=True)]
    holds(all(moment.utcoffset() == timedelta(0) for moment in moments), "now is not in UTC")
    same(moments, sorted(moments), "the times given out")


async def a_connection_of_another_kind_is_refused(store: Store) -> None:
    for stranger in (object(), None, "connection"):
        with refused(TypeError, "joining something that is no connection"):
            store.over(stranger)


async def a_store_says_where_it_is(store: Store) -> None:
    holds(":" in store.url, f"{store.url!r} does not look like a URL")


async def a_closed_store_refuses_every_call(store: Store) -> None:
    await insert(store, sample(1))
    store.close()
    store.close()
    with refused(StoreClosed, "transact on a closed store"):
        await store.transact(lambda session: None)
    with refused(StoreClosed, "read on a closed store"):
        await store.read(lambda session: None)
    with refused(StoreClosed, "transact_blocking on a closed store"):
        store.transact_blocking(lambda session: None)
    with refused(StoreClosed, "read_blocking on a closed store"):
        store.read_blocking(lambda session: None)
    with refused(StoreClosed, "watch on a closed store"):
        store.watch(ANY_HINT)


async def _furnish(store: Store) -> None:
    """A running, an ended, a waiting and a keyed task, with leases."""
    await open_leases(store, "ada", "bob")
    await insert(store, sample(1, priority=1), sample(2, priority=1))
    _, second = await claim(store, limit=2)
    await write(store, decided(second, events.Succeeded(_X)))
    await insert(store, sample(3), sample(4, key="k4"))


def _change_everything(session: Session) -> None:
    """One change of each kind on what `_furnish` left."""
    session.insert([sample(50, key="k50"), sample(51)])
    (running,) = session.get([task_id(1)])
    session.report([Report(running.id, running.token or "", 0.5, "half")])
    session.write([decided(running, events.Committed(_X)), decided(session.get([task_id(4)])[0], _CANCEL)])
    session.delete([task_id(2), task_id(50)])
    session.claim(ClaimOrder("bob", "default", {"send": 1}, 1), now=NOW)
    session.claim(ClaimOrder("cid", "default", {"send": 1}, 10), now=NOW + 2 * HOUR)
    session.renew("bob", now=NOW, lease_until=NOW + 9 * HOUR, running=1)
    session.close_lease("ada")
    session.open_lease(sample_lease("new"))


_CANCEL = events.CancelRequested("enough")


def _change_everything_and_fail(session: Session) -> None:
    _change_everything(session)
    raise _Mishap


def _insert_slowly(session: Session) -> None:
    session.insert([sample(1)])
    end = time.monotonic() + 0.005
    while time.monotonic() < end:
        pass
