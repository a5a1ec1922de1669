"""The verbs of schedules, of the trio client and of its twin for threads, and `sync_schedules` for a whole program."""

from __future__ import annotations

from collections.abc import Iterable

from returns.result import Failure, Result, Success

from milepost.client import schedule_info as info
from milepost.client.schedule_info import AnySchedule, ScheduleInfo, ScheduleSync, ScheduleTarget
from milepost.client.steps import HasStore
from milepost.lifecycle.record import Audit, TaskId
from milepost.lifecycle.refusals import ScheduleNotFound, TriggerRefused
from milepost.payload import PayloadRefused
from milepost.stores.protocol import Store, checked_store


class ScheduleVerbs:
    """What `Client` does with schedules."""

    __slots__ = ()

    async def schedule(self: HasStore, schedule: AnySchedule) -> Result[ScheduleInfo, PayloadRefused]:
        """Store a schedule under its key, for any executor to fire; durable when this returns.

        The same definition once more changes nothing, so a program may say it at each start. Another one under this key
        holds at once; the count of runs goes on. The answer's `has_ended` says that the schedule never fires (again) as
        it is defined. Refused when its request cannot be stored; raises `TaskDefinitionError` for a request that could
        not be enqueued either.
        """
        definition = info.definition_of(schedule, self.audit)
        if not isinstance(definition, Success):
            return Failure(definition.failure())
        return Success(await self.store.transact(info.schedule(definition.unwrap())))

    async def sync_schedules(
        self: HasStore, schedules: Iterable[AnySchedule], *, prune: bool = False
    ) -> Result[ScheduleSync, PayloadRefused]:
        """`schedule` for each of them, all or none, in one transaction; with `prune` every other schedule is removed.

        Raises `ConfigurationError` for two of one key.
        """
        return await sync_schedules(self, schedules, prune=prune)

    async def unschedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Forget a schedule; what it has enqueued stays. Gives what it was."""
        return await self.store.transact(info.unschedule(target))

    async def pause_schedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Let a schedule fire nothing, on whatever machine, once this returns. What it has enqueued goes on."""
        return await self.store.transact(info.pause(target))

    async def resume_schedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Let a schedule fire again. The instants of the pause do not count as missed."""
        return await self.store.transact(info.resume(target))

    async def trigger(self: HasStore, target: ScheduleTarget) -> Result[TaskId, TriggerRefused]:
        """Enqueue the request of a schedule now, whatever its previous task does, and even while it is paused.

        Its next instant stays when it is, and its runs are not counted up; for the overlap policy of the next instant
        this is the previous task. Refused when there is no such schedule, when this program cannot read it, and when
        the queue is full.
        """
        return await self.store.transact(info.trigger(target))

    async def schedules(self: HasStore) -> list[ScheduleInfo]:
        """Every schedule, by key."""
        return await self.store.read(info.schedules)


class BlockingScheduleVerbs:
    """What `BlockingClient` does with schedules; `ScheduleVerbs` says what each verb does."""

    __slots__ = ()

    def schedule(self: HasStore, schedule: AnySchedule) -> Result[ScheduleInfo, PayloadRefused]:
        """Store a schedule, or redefine it at once; as `Client.schedule`."""
        definition = info.definition_of(schedule, self.audit)
        if not isinstance(definition, Success):
            return Failure(definition.failure())
        return Success(self.store.transact_blocking(info.schedule(definition.unwrap())))

    def sync_schedules(
        self: HasStore, schedules: Iterable[AnySchedule], *, prune: bool = False
    ) -> Result[ScheduleSync, PayloadRefused]:
        """`schedule` for each of them, all or none; as `Client.sync_schedules`."""
        return sync_schedules_blocking(self, schedules, prune=prune)

    def unschedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Forget a schedule; as `Client.unschedule`."""
        return self.store.transact_blocking(info.unschedule(target))

    def pause_schedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Let a schedule fire nothing; as `Client.pause_schedule`."""
        return self.store.transact_blocking(info.pause(target))

    def resume_schedule(self: HasStore, target: ScheduleTarget) -> Result[ScheduleInfo, ScheduleNotFound]:
        """Let a schedule fire again; as `Client.resume_schedule`."""
        return self.store.transact_blocking(info.resume(target))

    def trigger(self: HasStore, target: ScheduleTarget) -> Result[TaskId, TriggerRefused]:
        """Enqueue the request of a schedule now; as `Client.trigger`."""
        return self.store.transact_blocking(info.trigger(target))

    def schedules(self: HasStore) -> list[ScheduleInfo]:
        """Every schedule, by key."""
        return self.store.read_blocking(info.schedules)


async def sync_schedules(
    target: Store | HasStore, schedules: Iterable[AnySchedule], *, prune: bool = False
) -> Result[ScheduleSync, PayloadRefused]:
    """Make the schedules of a store, or of a client's, those of a program, all or none; as `Client.sync_schedules`."""
    store, audit = _place(target)
    definitions = info.definitions_of(schedules, audit)
    if not isinstance(definitions, Success):
        return Failure(definitions.failure())
    return Success(await store.transact(info.sync(definitions.unwrap(), prune=prune)))


def sync_schedules_blocking(
    target: Store | HasStore, schedules: Iterable[AnySchedule], *, prune: bool = False
) -> Result[ScheduleSync, PayloadRefused]:
    """`sync_schedules` for programs without trio."""
    store, audit = _place(target)
    definitions = info.definitions_of(schedules, audit)
    if not isinstance(definitions, Success):
        return Failure(definitions.failure())
    return Success(store.transact_blocking(info.sync(definitions.unwrap(), prune=prune)))


def _place(target: Store | HasStore) -> tuple[Store, Audit]:
    if isinstance(target, HasStore):
        return target.store, target.audit
    return checked_store(target), Audit.TRANSITIONS
