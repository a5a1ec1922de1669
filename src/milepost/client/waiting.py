"""Waiting for many tasks at the price of one: one waiter reads for all, the others wait for it."""

from __future__ import annotations

import math
from collections import Counter
from typing import final

import trio

from milepost.client.targets import gone
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.stores.filter import TaskFilter
from milepost.stores.hint_watch import HintWatch
from milepost.stores.protocol import Hint, Session, Store, Watch
from milepost.tasks.outcomes import ENDED_STATES

_POLL_SECONDS = 1.0
_CROWD = 100
_CROWD_PAUSE_SECONDS = 0.005


@final
class Waits:
    """Everybody who waits on one client. The leader listens and reads; when it leaves, a follower takes over."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: Counter[TaskId] = Counter()
        self._ended: dict[TaskId, TaskRecord | None] = {}
        self._changed = trio.Event()
        self._watch: Watch | None = None
        self._led = False
        self._told = False

    async def until_ended(self, id: TaskId, seconds: float) -> TaskRecord:
        """The record of the task once it has ended.

        Raises `TaskGone` when there is no such task (any more), and `TimeoutError` after `seconds`: after one look in
        any case, so that zero seconds ask whether it has ended.
        """
        give_up_at = trio.current_time() + max(0.0, seconds)
        self._wanted[id] += 1
        try:
            # Wanted and listened for first, looked for second: the leader hears of an end between the two.
            watch = self._watch = self._watch or self._store.watch(Hint.FINAL)
            await self._look((id,))
            with trio.move_on_at(give_up_at):
                while id not in self._ended:
                    if self._led:
                        await self._changed.wait()
                    else:
                        await self._lead(id, watch)
            if id not in self._ended:
                raise TimeoutError(f"the task {id} has not ended within {seconds} seconds")
            record = self._ended[id]
        finally:
            self._leave(id)
        if record is None:
            raise gone(id)
        return record

    async def _lead(self, id: TaskId, watch: Watch) -> None:
        self._led = True
        try:
            while id not in self._ended:
                # A leader that was cancelled after it was told leaves the looking to the next one.
                if not self._told:
                    await watch.wait(_poll_seconds(watch))
                    self._told = True
                wanted = tuple(each for each in self._wanted if each not in self._ended)
                await self._look(wanted)
                self._told = False
                if len(wanted) > _CROWD:
                    await trio.sleep(_CROWD_PAUSE_SECONDS)
        finally:
            self._led = False
            self._tell()

    async def _look(self, wanted: tuple[TaskId, ...]) -> None:
        self._keep(await self._store.read(lambda session: _ended(session, wanted)))

    def _leave(self, id: TaskId) -> None:
        self._wanted[id] -= 1
        if not self._wanted[id]:
            del self._wanted[id]
            self._ended.pop(id, None)
        if not self._wanted and self._watch is not None:
            self._watch.close()
            self._watch, self._told = None, False

    def _keep(self, ended: dict[TaskId, TaskRecord | None]) -> None:
        # Who waited may have left while the store was read; what nobody takes away would be told to the next one.
        wanted = {id: record for id, record in ended.items() if id in self._wanted}
        if wanted:
            self._ended.update(wanted)
            self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _poll_seconds(watch: Watch) -> float:
    return math.inf if isinstance(watch, HintWatch) and watch.misses_nothing else _POLL_SECONDS


def _ended(session: Session, wanted: tuple[TaskId, ...]) -> dict[TaskId, TaskRecord | None]:
    """Those of `wanted` that have ended, and None for those that are gone."""
    wanted_and_ended = TaskFilter(ids=wanted, states=ENDED_STATES)
    found: dict[TaskId, TaskRecord | None] = {
        record.id: record for record in session.search(wanted_and_ended, limit=max(1, len(wanted)))
    }
    rest = tuple(id for id in wanted if id not in found)
    if rest and session.count(TaskFilter(ids=rest)) < len(rest):
        there = {record.id for record in session.get(rest)}
        found.update({id: None for id in rest if id not in there})
    return found
