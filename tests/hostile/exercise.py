"""Everything that one does with a store, as a program that does not know that its rows are damaged."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, final

from attrs import field, frozen

from milepost import (
    Client,
    MilepostError,
    Retention,
    Store,
    Success,
    TaskQuery,
    check_compatibility,
    open_executor,
)
from milepost.lifecycle.record import TaskId
from tests.hostile.world import BYSTANDER, HOUR, PAID, PATIENCE_SECONDS, QUICK, SEVERAL, TASKS, VICTIM, Lived, double

LISTINGS: Final[dict[str, Callable[[Client], Awaitable[object]]]] = {
    "search": lambda client: client.search(TaskQuery().with_page_size(1_000)),
    "newest first": lambda client: client.search(TaskQuery().newest_first().with_page_size(3)),
    "text": lambda client: client.search(TaskQuery().with_text("told")),
    "metadata": lambda client: client.search(TaskQuery().with_metadata(7)),
    "state": lambda client: client.search(TaskQuery().live()),
    "parent": lambda client: client.search(TaskQuery().with_parent(TaskId("x"))),
    "schedule": lambda client: client.search(TaskQuery().with_schedule(VICTIM)),
    "count": lambda client: client.count(TaskQuery()),
    "queues": lambda client: client.queues(),
    "executors": lambda client: client.executors(),
    "schedules": lambda client: client.schedules(),
    "compatibility": lambda client: check_compatibility(client.store, TASKS),
}
"""What is asked of the whole store, and so must work whatever one row holds."""

OF_ONE: Final[dict[str, Callable[[Client, TaskId], Awaitable[object]]]] = {
    "get": lambda client, id: client.get(id),
    "history": lambda client, id: client.history(id),
    "explain": lambda client, id: client.explain(id),
    "logs": lambda client, id: client.logs(id),
}
"""What is asked of one task, and so must work for all of them."""

CHANGES: Final[tuple[Callable[[Client, TaskId], Awaitable[object]], ...]] = (
    lambda client, id: client.proceed(id),
    lambda client, id: client.cancel(id, descendants=True),
    lambda client, id: client.requeue(id, descendants=True),
    lambda client, id: client.requeue(id, from_start=True),
    lambda client, id: client.delete(id),
)
"""What changes a task; each victim meets one of them."""


@final
@frozen
class Complaints:
    """What went wrong, in words."""

    said: list[str] = field(factory=list[str])

    async def asked(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """What `call` gives; whatever it raises is a complaint."""
        try:
            return await call()
        except Exception as error:
            self.said.append(f"{what}: {_told(error)}")
            return None

    async def tried(self, what: str, call: Callable[[], Awaitable[Any]]) -> None:
        """`call` may refuse; only an error that is none of milepost's own is a complaint."""
        try:
            await call()
        except MilepostError as error:
            if "\n" in str(error):
                self.said.append(f"{what}: several lines {error}")
        except Exception as error:
            self.said.append(f"{what}: {_told(error)}")


def _told(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} at {last.filename.rpartition('milepost/')[2]}:{last.lineno}"[:300]


async def exercised(store: Store, lived: Lived) -> list[str]:
    """Look at everything, let an executor work, change every victim; gives the complaints."""
    client, complaints = Client(store), Complaints()
    for what, listing in LISTINGS.items():
        await complaints.asked(what, partial(listing, client))
    for id in (*lived.victims, *lived.bystanders):
        for what, look in OF_ONE.items():
            await complaints.asked(what, partial(look, client, TaskId(id)))
    async with open_executor(store, TASKS, config=QUICK):
        await complaints.asked("the bystanders", lambda: _bystanders(client, lived))
    for n, id in enumerate(lived.victims):
        change = CHANGES[n % len(CHANGES)]
        await complaints.tried(f"change {n % len(CHANGES)}", partial(change, client, TaskId(id)))
    for key in SEVERAL:
        await complaints.tried("trigger", partial(client.trigger, key))
        await complaints.tried("pause", partial(client.pause_schedule, key))
        await complaints.tried("resume", partial(client.resume_schedule, key))
        await complaints.tried("resume queue", partial(client.resume_queue, key))
        await complaints.tried("unschedule", partial(client.unschedule, key))
    nothing = 0 * HOUR
    retention = Retention(completed=nothing, cancelled=nothing, failed=nothing, logs=nothing)
    await complaints.asked("prune", lambda: client.prune(retention))
    await complaints.asked("search afterwards", lambda: client.search(TaskQuery()))
    await complaints.asked("schedules afterwards", client.schedules)
    return complaints.said


async def _bystanders(client: Client, lived: Lived) -> None:
    """They go on: who waits, who is due, who fails as told, and what a schedule makes."""
    waiting, _, due, failing = (TaskId(id) for id in lived.bystanders)
    assert (await client.send_event(PAID, BYSTANDER, 9)).delivered == (waiting,)
    assert (await client.wait(waiting, timeout_seconds=PATIENCE_SECONDS)) == Success.with_result(9)
    assert (await client.wait(due, timeout_seconds=PATIENCE_SECONDS)) == Success.with_result(42)
    await client.wait(failing, timeout_seconds=PATIENCE_SECONDS)
    triggered = (await client.trigger(BYSTANDER)).unwrap()
    await client.wait(triggered, timeout_seconds=PATIENCE_SECONDS)
    fresh = await client.enqueue(double.with_metadata(4))
    await client.wait(fresh, timeout_seconds=PATIENCE_SECONDS)
