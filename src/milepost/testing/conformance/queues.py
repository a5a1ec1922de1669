"""What was said of queues: kept, heeded by every claim, and counted without a race."""

from __future__ import annotations

from functools import partial

import attrs
import trio

from milepost.lifecycle import events
from milepost.lifecycle.queues import QueueSettings, WhenFull
from milepost.lifecycle.record import TaskRecord
from milepost.payload import JsonText
from milepost.stores.protocol import ClaimOrder, Hint, Session, Store
from milepost.stores.tables import QueueLoad
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    get,
    holds,
    insert,
    numbers,
    open_leases,
    same,
    sample,
    samples,
    task_id,
)

_X = JsonText("1")
_LATE = NOW + 2 * HOUR
_PAUSED = QueueSettings(name="default", paused_at=NOW, paused_reason="a full disk")
_WHOLE = QueueSettings(
    name="mail",
    paused_at=NOW,
    paused_reason="it's 'quoted', ü",
    weight=7,
    concurrency=3,
    capacity=11,
    when_full=WhenFull.SPILL,
    spill_to="late",
)


class _Undone(Exception):
    pass


async def settings_are_given_back_as_they_were_put(store: Store) -> None:
    plain = QueueSettings(name="alone", weight=2, when_full=WhenFull.WAIT)
    await _put(store, _WHOLE, plain)
    same(await store.read(lambda session: session.settings.all()), [plain, _WHOLE], "all settings, by name")
    got = await store.read(lambda session: session.settings.get(["mail", "other"]))
    same(got, {"mail": _WHOLE}, "the settings of one queue that has some and one that has none")
    same(await store.read(lambda session: session.settings.get([])), {}, "the settings of no queue")


async def settings_replace_what_was_said_before(store: Store) -> None:
    await _put(store, _WHOLE)
    changed = attrs.evolve(_WHOLE, paused_at=None, paused_reason="", capacity=None)
    await _put(store, changed)
    same(await store.read(lambda session: session.settings.all()), [changed], "settings that were put twice")


async def settings_that_say_nothing_are_not_kept(store: Store) -> None:
    await _put(store, _WHOLE)
    await _put(store, QueueSettings(name="mail"), QueueSettings(name="never said of"))
    same(await store.read(lambda session: session.settings.all()), [], "settings that say nothing any more")


async def settings_that_were_rolled_back_never_were(store: Store) -> None:
    def put(session: Session) -> None:
        session.settings.put(_WHOLE)
        same(session.settings.get(["mail"]), {"mail": _WHOLE}, "settings inside their transaction")
        raise _Undone

    try:
        await store.transact(put)
    except _Undone:
        same(await store.read(lambda session: session.settings.all()), [], "settings after a rollback")


async def nothing_of_a_paused_queue_is_claimed(store: Store) -> None:
    await open_leases(store, "dead")
    await insert(store, sample(1))
    await claim(store, "dead")
    await insert(store, sample(2), sample(3, queue="open"))
    await _put(store, _PAUSED)
    same(await claim(store, "bob", now=_LATE), [], "a claim of a paused queue, where a task is due and one expired")
    same(numbers(await claim(store, "bob", queue="open")), [3], "a claim of another queue")
    await _put(store, QueueSettings(name="default"))
    same(numbers(await claim(store, "bob", now=_LATE)), [1, 2], "a claim once the queue goes on")


async def a_paused_queue_is_not_listed(store: Store) -> None:
    await claim_one(store, sample(1))
    await insert(store, sample(2), sample(3, queue="open", due_at=NOW + HOUR))
    await _put(store, _PAUSED)
    queues = await store.read(lambda session: session.queues({"send": 1}))
    same(queues, ["open"], "the queues with something to claim")


async def what_waits_in_a_paused_queue_falls_due_for_nobody(store: Store) -> None:
    await insert(store, sample(1), sample(2, queue="open", due_at=NOW + HOUR))
    await _put(store, _PAUSED)

    def next_due(session: Session) -> object:
        return session.next_due({"send": 1}, ["default", "open"]), session.next_due({"send": 1}, ["default"])

    same(await store.read(next_due), (NOW + HOUR, None), "the next due times")


async def what_runs_when_its_queue_is_paused_goes_on(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await _put(store, _PAUSED)
    done = await apply(store, await apply(store, claimed, events.Committed(_X)), events.Succeeded(_X))
    same(done.state.value, "completed", "a task that ended in a paused queue")


async def a_limited_queue_gives_nothing_to_who_has_not_counted(store: Store) -> None:
    await insert(store, sample(1))
    await _put(store, QueueSettings(name="default", concurrency=5))
    same(await claim(store), [], "a claim without due_max")
    same(numbers(await _claim_counted(store, 1)), [1], "a claim with due_max")


async def no_more_due_tasks_are_claimed_than_were_asked_for(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, *samples(1, 2, 3, 4, 5))
    same(numbers(await _claim_counted(store, 2)), [1, 2], "a claim of 100, at most 2 of them due ones")
    same(await _claim_counted(store, 0), [], "a claim of 100, none of them a due one")
    same(numbers(await _claim_counted(store, 9, limit=1)), [3], "a claim of 1, at most 9 of them due ones")


async def expired_tasks_take_no_share_of_the_due_ones(store: Store) -> None:
    await open_leases(store, "dead")
    await insert(store, *samples(1, 2))
    await claim(store, "dead")
    await insert(store, *samples(3, 4, 5))
    await open_leases(store, "ada", until=_LATE + HOUR)
    taken = numbers(await _claim_counted(store, 1, late=True))
    same(taken, [1, 2, 3], "a claim of 100, at most 1 of them a due one, where two have expired")


async def the_last_slot_takes_over_where_nothing_due_may_start(store: Store) -> None:
    await open_leases(store, "dead")
    await insert(store, sample(1))
    await claim(store, "dead")
    await insert(store, sample(2))
    await open_leases(store, "ada", until=_LATE + HOUR)
    same(numbers(await _claim_counted(store, 0, limit=1, late=True)), [1], "a claim of 1, none of them a due one")


async def what_waits_is_counted_up_to_a_bound(store: Store) -> None:
    await _furnish(store)

    def counts(session: Session) -> list[int]:
        return [session.settings.waiting(queue, most=most) for queue, most in (("q", 99), ("q", 2), ("none", 5))]

    same(await store.transact(counts), [4, 2, 0], "how many tasks wait")


async def what_runs_is_counted_over_all_executors(store: Store) -> None:
    await _furnish(store)

    def counts(session: Session) -> list[int]:
        return [session.settings.running(queue) for queue in ("q", "other", "none")]

    same(await store.transact(counts), [2, 1, 0], "how many tasks run")


async def loads_tell_of_every_queue_with_live_tasks(store: Store) -> None:
    await _furnish(store)
    loads = await store.read(lambda session: session.settings.loads(now=NOW))
    busy = QueueLoad(queue="q", waiting=4, due=3, running=2, suspended=1, quarantined=1, oldest_due_at=NOW - 2 * SECOND)
    same(loads, [QueueLoad(queue="other", running=1), busy], "the loads of two queues")


async def an_insert_for_unbounded_queues_only_is_all_or_none(store: Store) -> None:
    await _put(store, QueueSettings(name="bounded", capacity=100), QueueSettings(name="free", weight=3))

    async def try_to_insert(*records: TaskRecord) -> bool:
        return await store.transact(lambda session: session.insert_unbounded(records))

    same(await try_to_insert(sample(1), sample(2, queue="free")), True, "an insert into queues without a capacity")
    same(await try_to_insert(sample(3), sample(4, queue="bounded")), False, "an insert, one of them with a capacity")
    same(await try_to_insert(), True, "an insert of nothing")
    many = [sample(n, queue="bounded" if n == 1500 else "free") for n in range(10, 2000)]
    same(await try_to_insert(*many), False, "an insert of many, one of them with a capacity")
    found = await store.read(lambda session: session.get([task_id(n) for n in (1, 2, 3, 4, 10, 1500)]))
    same(numbers(found), [1, 2], "what was inserted")


async def a_change_of_settings_is_heard_of(store: Store) -> None:
    watch = store.watch(Hint.DUE)
    try:
        await _put(store, _PAUSED)
        holds(await watch.wait(5), "nobody was told of changed settings")
    finally:
        watch.close()


async def once_a_queue_is_paused_no_claim_takes_from_it(store: Store) -> None:
    """Claims race a pause, which may come anywhere among them; what they took, they took before it returned."""
    await open_leases(store, "ada")
    await insert(store, *samples(*range(400)))
    after_pause: list[TaskRecord] = []
    paused = False

    async def claim_all() -> None:
        while True:
            began_late = paused
            claimed = await claim(store, limit=3)
            if began_late:
                after_pause.extend(claimed)
            if not claimed:
                return

    def pause(session: Session) -> None:
        session.settings.lock()
        session.settings.put(_PAUSED)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(claim_all)
        await store.transact(pause)
        running = await store.read(lambda session: session.settings.running("default"))
        paused = True
    same(after_pause, [], "what was claimed after the pause")
    same(await store.read(lambda session: session.settings.running("default")), running, "what runs since the pause")


async def who_counts_to_claim_is_alone_with_the_queue(store: Store) -> None:
    await open_leases(store, "ada")
    await insert(store, *samples(*range(40)))
    limited = QueueSettings(name="default", concurrency=7)
    await _put(store, limited)

    def claim_what_is_free(session: Session) -> None:
        same(session.settings.lock_running(["default"]), {"default": limited}, "the settings as they are locked")
        free = 7 - session.settings.running("default")
        session.claim(ClaimOrder("ada", "default", {"send": 1}, 2, due_max=free), now=NOW)

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(store.transact, claim_what_is_free)
    same(await store.read(lambda session: session.settings.running("default")), 7, "how many tasks run of 7 allowed")


async def who_counts_to_insert_is_alone_with_the_queue(store: Store) -> None:
    await _put(store, QueueSettings(name="default", capacity=7))

    def insert_if_there_is_room(session: Session, n: int) -> None:
        session.settings.lock_intake(["default"])
        if session.settings.waiting("default", most=7) < 7:
            session.insert([sample(n)])

    async with trio.open_nursery() as nursery:
        for n in range(16):
            nursery.start_soon(store.transact, partial(insert_if_there_is_room, n=n))
    waiting = await store.read(lambda session: session.settings.waiting("default", most=99))
    same(waiting, 7, "how many tasks wait where 7 may")


async def _put(store: Store, *settings: QueueSettings) -> None:
    def put(session: Session) -> None:
        for each in settings:
            session.settings.put(each)

    await store.transact(put)


async def _claim_counted(store: Store, due_max: int, *, limit: int = 100, late: bool = False) -> list[TaskRecord]:
    order = ClaimOrder("ada", "default", {"send": 1}, limit, due_max)
    return await store.transact(lambda session: session.claim(order, now=_LATE if late else NOW))


async def _furnish(store: Store) -> None:
    """Two queues with live tasks of every kind in one of them, and one with ended ones only."""
    rest: tuple[events.Event, ...] = (events.Suspended(_X), events.Stalled())
    for n, event in enumerate(rest):
        await apply(store, await claim_one(store, sample(n, queue="q")), event)
    await claim_one(store, sample(2, queue="q"))
    await claim_one(store, sample(3, queue="q", name="bill"), "bob")
    await claim_one(store, sample(4, queue="other"), "bob")
    await apply(store, await claim_one(store, sample(5, queue="ended")), events.Succeeded(_X))
    await insert(store, *samples(6, 7, queue="q"), sample(8, queue="q", due_at=NOW - 2 * SECOND))
    await insert(store, sample(9, queue="q", name="bill", due_at=NOW + HOUR))
    same((await get(store, task_id(1))).state.value, "quarantined", "the state of a task that the check needs")
