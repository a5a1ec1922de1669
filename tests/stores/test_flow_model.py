"""The same random programs of schedules and named events on the memory store and on another one."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.ties import Tie
from milepost.payload import JsonText
from milepost.schedules.standing import ScheduleState
from milepost.stores import flow
from milepost.stores.events import send
from milepost.stores.flow_tables import ScheduleRow, SentEvent
from milepost.stores.protocol import Session
from milepost.testing.conformance.kit import NOW
from tests import strategies
from tests.stores.test_model import URLS, Pair, do_the_same, in_schemas

pytestmark = pytest.mark.slow

PICKS = st.integers(0, 50)
KEYS = st.sampled_from(["nightly", "hourly", "never"])
WAITS = strategies.waits_for_events().map(lambda wait: attrs.evolve(wait, event="paid"))
UNDONE = st.integers(0, 4).map(lambda n: n == 0)
PROGRAMS = 30
FLOORS = {
    "waits": 20,
    "waits and has it at once": 2,
    "event kept": 20,
    "event delivered": 2,
    "event repeated": 2,
    "schedule put": 10,
    "schedule stale": 5,
    "rolled back": 10,
}


class TwoFlows(Pair):
    """Events that are sent and waited for, and schedules that are put, woken and deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0

    @rule(task=strategies.new_tasks(), wait=WAITS, undone=UNDONE)
    def begin_to_wait(self, task: TaskRecord, wait: events.Suspended, undone: bool) -> None:
        self.inserted += 1
        # Tied to nobody: the companion that the end of another one may leave has an id of its own on each store.
        free = {"key": None, "parent": None, "schedule": None, "ties": Tie.NONE}
        new = strategies.nth(self.inserted, task).changed(free)
        running, suspended = self.decided(new, [events.Claimed("ada", "token"), wait])

        def suspend(session: Session, _: int) -> TaskRecord:
            session.insert([running.after])
            assert flow.write(session, [suspended], now=self.now) == [True]
            return session.get([new.id])[0]

        found, _ = self.both(suspend, undone=undone)
        self.seen["waits" if found is None or found.received_json is None else "waits and has it at once"] += 1

    @rule(pick=PICKS, event=st.sampled_from([events.Proceeded(), events.CancelRequested("enough")]))
    def end_a_wait(self, pick: int, event: events.Event) -> None:
        if pair := self.pick(pick, states=(TaskState.SUSPENDED,)):
            changes = tuple(self.decided(record, [event]) for record in pair)
            self.both(lambda session, n: flow.write(session, changes[n], now=self.now))

    @rule(
        key=strategies.event_keys(),
        id=st.sampled_from(["1", None]),
        payload=strategies.short_payloads(),
        keep=st.sampled_from([timedelta(0), timedelta(seconds=5), timedelta(days=1)]),
        undone=UNDONE,
    )
    def send_an_event(self, key: str, id: str | None, payload: JsonText, keep: timedelta, undone: bool) -> None:
        self.sent += 1
        own = f"own {self.sent}" if id is None else id
        event = SentEvent("paid", key, own, payload, self.now, self.now + keep)
        sent, _ = self.both(lambda session, _: send(session, event, is_named=id is not None), undone=undone)
        assert sent is not None
        self.seen["event repeated" if sent.repeated else "event delivered" if sent.delivered else "event kept"] += 1

    @rule(key=KEYS, revision=st.integers(0, 2), queued=st.booleans(), due=st.none() | strategies.seconds())
    def put_a_schedule(self, key: str, revision: int, queued: bool, due: timedelta | None) -> None:
        text = JsonText("1")
        row = ScheduleRow(
            key=key,
            name="send",
            terms_json=text,
            request_json=text,
            state=ScheduleState(
                counted_from=NOW, handled_until=self.now, next_at=None, queued_at=self.now if queued else None
            ),
            due_at=None if due is None else self.now + due,
            revision=revision,
        )
        put, _ = self.both(lambda session, _: session.schedules.insert(row) or session.schedules.write(row))
        self.seen["schedule put" if put else "schedule stale"] += 1

    @rule(keys=st.lists(KEYS, max_size=2), wakes=st.integers(0, 3), undone=UNDONE)
    def wake_or_delete_schedules(self, keys: list[str], wakes: int, undone: bool) -> None:
        def change(session: Session, _: int) -> list[str] | None:
            if wakes:
                session.schedules.wake(keys, now=self.now)
                return None
            return sorted(session.schedules.delete(keys))

        self.both(change, undone=undone)

    @rule(limit=st.integers(0, 3))
    def forget_old_events(self, limit: int) -> None:
        self.both(lambda session, _: session.events.forget(before=self.now, limit=limit))

    @rule(delay=strategies.seconds())
    def pass_time(self, delay: timedelta) -> None:
        self.now += delay

    @rule(limit=st.integers(0, 3))
    def ask(self, limit: int) -> None:
        def everything(session: Session, _: int) -> list[object]:
            return [
                [(kept.event, kept.delivered_at) for kept in session.events.copy_out(0, limit=1_000)],
                [session.events.waiting(name, key) for name in ("paid", "") for key in ("a", "b")],
                session.schedules.all(),
                session.schedules.get(["nightly", "never", "unknown"]),
                session.schedules.due(now=self.now, limit=limit),
                session.schedules.next_due(),
            ]

        self.both(everything)


@pytest.mark.parametrize("url", URLS)
def test_a_store_and_the_memory_store_do_the_same(url: str) -> None:
    do_the_same(TwoFlows, url, FLOORS, programs=PROGRAMS)


def test_the_postgres_store_and_the_memory_store_do_the_same(postgres_url: str) -> None:
    do_the_same(TwoFlows, in_schemas(postgres_url), FLOORS, programs=PROGRAMS)
