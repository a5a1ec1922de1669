"""Whoever uses the house: enqueues, cancels, proceeds, requeues, and in the end looks at what became of it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import trio
from returns.result import Success as Done

from milepost import Client, EnqueueRefused, Misfire, Overlap, Schedule, TaskHandle, TaskId, TaskState, every
from milepost.errors import CommitUnknown, StoreError
from milepost.lifecycle.record import TaskRecord
from milepost.payload import JsonText
from milepost.tasks import AnyTask, TaskRequest
from milepost.testing.simulation import Simulation
from tests.simulation.house import CONFIG, NARROW, PAID, QUEUES, SELECT, House, Job

SCHEDULES: Final = ("tick", "tock")


def scenario_of(house: House, tasks: list[AnyTask], *, scale: int = 1) -> Callable[[Simulation], Awaitable[int]]:
    """Enqueue, cancel, proceed, requeue, pause and delete, through good and bad connections; then see to the end."""

    async def scenario(simulation: Simulation) -> int:
        house.simulation.append(simulation)
        guest = _Guest(house, simulation, {each.name: each for each in tasks})
        await simulation.client.set_queue(NARROW, concurrency=2)
        for _ in range(simulation.random.randrange(6, 14) * scale):
            await guest.does_something()
            await trio.sleep(simulation.random.choice((0, 0.4, 1.5, 3.0)))
        simulation.calm()
        await guest.sees_to_the_end()
        return sum(house.effects)

    return scenario


class _Guest:
    """Whoever uses the house."""

    def __init__(self, house: House, simulation: Simulation, tasks: dict[str, AnyTask]) -> None:
        self.house = house
        self.simulation = simulation
        self.random = simulation.random
        self.tasks = tasks
        self.handles: list[TaskHandle[Any, Any]] = []
        self.numbers = 0

    async def does_something(self) -> None:
        client = self.random.choice((self.simulation.client, self.simulation.shaky_client))
        deeds = (
            *[self.enqueues] * 6,
            *[self.cancels] * 2,
            *[self.proceeds] * 2,
            self.requeues,
            self.sends,
            self.schedules,
            self.pauses,
            self.deletes,
            self.damages,
        )
        try:
            await self.random.choice(deeds)(client)
        except CommitUnknown:
            self.simulation.note("a reply is lost for good")
        except (StoreError, EnqueueRefused) as refused:
            self.simulation.note(f"refused: {type(refused).__name__}")

    async def enqueues(self, client: Client) -> None:
        burst = self.random.random() < 0.05
        requests = [self.request() for _ in range(40 if burst else self.random.randrange(1, 4))]
        self.handles += await client.enqueue_all(requests)

    def request(self) -> TaskRequest[Any, Any, Any, Any]:
        self.numbers += 1
        random = self.random
        name = random.choices(
            list(self.tasks), [10, 10, 3, 3, 4, 4, 1, 0.5, 1, 1, 1, 3, 3, *[40] * (len(self.tasks) - 13)]
        )[0]
        job = Job(self.numbers, random.randrange(4), random.choice((0.0, 0.05, 0.6, 2.0, 9.0)))
        request = self.tasks[name].with_metadata(job).with_priority(random.randrange(3))
        if random.random() < 0.3:
            request = request.in_queue(random.choice(QUEUES))
        if random.random() < 0.3:
            request = request.with_key("a")
        if random.random() < 0.1:
            request = request.after(timedelta(seconds=random.choice((1, 5, 20))))
        return request

    async def cancels(self, client: Client) -> None:
        if handle := self.somebody():
            self.house.cancelled.add(handle.id)
            before = self.simulation.record(handle.id)
            accepted = await client.cancel(handle, reason="the guest said so")
            after = self.simulation.record(handle.id)
            if isinstance(accepted, Done) and before is not None and after is not None:
                ended_or_told = after.state.is_final or after.cancel_requested_at is not None
                self.house.expect(ended_or_told, f"a cancel of {handle.id} was accepted, and it is {after.state}")

    async def proceeds(self, client: Client) -> None:
        if handle := self.somebody():
            await client.proceed(handle.id)

    async def requeues(self, client: Client) -> None:
        if (handle := self.somebody()) and handle.task.name != "writes" and handle.id not in self.house.poison:
            await client.requeue(handle.id, from_start=self.random.random() < 0.3)

    async def deletes(self, client: Client) -> None:
        if (handle := self.somebody()) and self.random.random() < 0.3:
            self.house.deleted.add(handle.id)
            await client.delete(handle.id)

    async def sends(self, client: Client) -> None:
        await client.send_event(PAID, str(self.random.randrange(3)), {"cents": 1}, id=f"payment {self.random.random()}")

    async def schedules(self, client: Client) -> None:
        request = self.tasks["pure"].with_metadata(Job(0, 2))
        seconds = timedelta(seconds=self.random.choice((1, 2, 7)))
        misfire, overlap = self.random.choice(list(Misfire)), self.random.choice(list(Overlap))
        schedule = Schedule(self.random.choice(SCHEDULES), request, every(seconds), misfire=misfire, overlap=overlap)
        await client.schedule(schedule)

    async def pauses(self, client: Client) -> None:
        queue = self.random.choice(QUEUES)
        await client.pause_queue(queue)
        await trio.sleep(self.random.choice((0, 1)))
        await client.resume_queue(queue)

    async def damages(self, client: Client) -> None:
        """Somebody writes rows that no task can read, and some that nobody knows."""
        number = self.random.randrange(3)
        now = self.simulation.now
        record = TaskRecord(
            id=TaskId(f"00000000-0000-7000-8000-{self.numbers:012d}"),
            name="walk" if number else "nobody-knows",
            version=1 if number < 2 else 99,
            metadata_json=JsonText('{"number":"no number"}'),
            created_at=now,
            due_at=now,
        )
        self.numbers += 1
        await client.store.transact(lambda session: session.insert([record]))

    def somebody(self) -> TaskHandle[Any, Any] | None:
        return self.random.choice(self.handles) if self.handles else None

    async def sees_to_the_end(self) -> None:
        """Now that nothing goes wrong, whatever can end does so, and as it should."""
        for queue in sorted(set(QUEUES)):
            await self.simulation.client.resume_queue(queue)
        for key in SCHEDULES:
            await self.simulation.client.unschedule(key)
        for _ in range(200):
            waiting = [
                each for each in self.records() if each.state.is_live and each.state is not TaskState.QUARANTINED
            ]
            if not waiting:
                break
            for record in waiting:
                if record.state is TaskState.SUSPENDED and record.due_at is None:
                    await self.simulation.client.proceed(record.id)
            await trio.sleep(1)
        await self.tries_a_cancel()
        for handle in self.handles:
            self.judge(handle)
        if self.house.has_sql:
            await self.judges_effects()

    async def tries_a_cancel(self) -> None:
        """In calm weather a running task hears of its cancel within a poll or two, also without a hint."""
        await trio.sleep(2 * CONFIG.lease_seconds)  # whoever was frozen has noticed
        self.numbers += 1
        client = self.simulation.client
        handle = await client.enqueue(self.tasks["walk"].with_metadata(Job(self.numbers, 1, 60.0)).with_priority(9))
        with trio.move_on_after(60):
            while (record := self.simulation.record(handle.id)) is None or record.state is not TaskState.RUNNING:  # noqa: ASYNC110
                await trio.sleep(0.1)
        await client.cancel(handle)
        with trio.move_on_after(3 * CONFIG.poll_seconds + CONFIG.cleanup_seconds):
            await handle.wait()
        record = self.simulation.record(handle.id)
        ended = record is not None and record.state is TaskState.CANCELLED
        self.house.expect(ended, f"{handle.id} was asked to end, and is {record and record.state}")

    def records(self) -> list[TaskRecord]:
        found = [self.simulation.record(handle.id) for handle in self.handles]
        return [record for record in found if record is not None]

    def judge(self, handle: TaskHandle[Any, Any]) -> None:
        """What became of one task."""
        record, expect = self.simulation.record(handle.id), self.house.expect
        if record is None:
            expect(handle.id in self.house.deleted, f"{handle.id} was acknowledged and is gone")
            return
        if record.name in ("poison", "spinning"):
            states = (TaskState.QUARANTINED, TaskState.CANCELLED)
            expect(record.state in states, f"{record.name} {record.id} is {record.state.value}")
            return
        if record.state is TaskState.QUARANTINED:
            return  # its processes were killed too often; the audit has counted with
        if record.name == "parent" and record.epoch == 1:
            self.judge_family(record)
        expect(record.state.is_final, f"{record.name} {record.id} is {record.state.value} at the end")
        if record.state is TaskState.CANCELLED and record.name != "pure":
            expect(record.id in self.house.cancelled, f"{record.name} {record.id} was cancelled by nobody")
        if record.name in ("walk", "blocking", "parked", "narrow") and record.state is TaskState.FAILED:
            expect(False, f"{record.name} {record.id} failed: {record.crash}")
        if record.name in ("walk", "blocking", "parked") and record.state is TaskState.COMPLETED:
            result: Any = record.result
            expect(result["steps"] == self.steps_of(record), f"{record.id} ended after {result}")

    async def judges_effects(self) -> None:
        """I8: an effect is there once for each commit that it was written with, and for each end."""
        rows = await self.simulation.client.store.read(lambda session: session.transaction.execute(SELECT))
        written = Counter(str(id) for id, _ in rows)
        self.house.expect(len({key for _, key in rows}) == len(rows), "an effect happened twice")
        for record in self.simulation.records():
            if record.name == "writes":
                due = record.sequence + (record.state is TaskState.COMPLETED)
                self.house.expect(written[record.id] == due, f"{written[record.id]} effects of {record.id}, not {due}")
        self.house.effects.append(len(rows))

    def judge_family(self, parent: TaskRecord) -> None:
        """I7: what a result enqueued is there, once, and nothing else."""
        born = Counter(each.name for each in self.simulation.records() if each.parent == parent.id)
        joined = self.steps_of(parent) if parent.sequence > 0 else 0
        dropped = parent.state is TaskState.CANCELLED and born["walk"] == 0  # it suspended under a cancel
        self.house.expect(
            born["walk"] == joined or dropped, f"{born['walk']} children of {parent.id}, which enqueued {joined}"
        )
        last = int(parent.state is TaskState.COMPLETED)
        self.house.expect(born["pure"] == last, f"{born['pure']} follow-ups of {parent.id}, {parent.state.value}")

    def steps_of(self, record: TaskRecord) -> int:
        stored: Any = record.metadata
        return int(stored["steps"])
