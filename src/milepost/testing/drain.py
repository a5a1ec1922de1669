"""Everything that is due, run in a test, with nothing left behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import trio

from milepost.executor import ExecutorConfig, open_executor
from milepost.lifecycle.states import TaskState
from milepost.registry import Registry
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Hint, Session, Store
from milepost.tasks import AnyTask

_LOOK_SECONDS = 0.02


async def drain(
    store: Store, tasks: Iterable[AnyTask], *, config: ExecutorConfig | None = None, timeout_seconds: float = 60
) -> None:
    """Run whatever of these tasks is due, and what follows of it, until nothing is due and nothing runs any more.

    What is due later, suspended, paused or quarantined stays as it is. An executor with these settings works meanwhile,
    and is gone when this returns. Raises `TimeoutError`, which names what is left, after `timeout_seconds`.
    """
    kept = list(tasks)
    names = Registry.of(kept).versions
    settings = config or ExecutorConfig(poll_seconds=_LOOK_SECONDS)
    left: Sequence[str] = ()

    def look(session: Session) -> Sequence[str]:
        running = session.search(TaskFilter(names=tuple(names), states=(TaskState.RUNNING,)), limit=10)
        now = session.now()
        queues = session.queues(names) if settings.queues is None else tuple(settings.queues)
        due = {
            "a task that is due": session.next_due(names, queues),
            "a schedule that is due": session.schedules.next_due(),
        }
        waiting = [what for what, at in due.items() if at is not None and at <= now]
        return [*(f"{record.name} {record.id}, which runs" for record in running), *waiting]

    watch = store.watch(Hint.FINAL | Hint.DUE)
    try:
        with trio.move_on_after(timeout_seconds):
            async with open_executor(store, kept, config=settings):
                while left := await store.read(look):
                    await watch.wait(_LOOK_SECONDS)
            return
    finally:
        watch.close()
    raise TimeoutError(f"not drained after {timeout_seconds} seconds: {', '.join(left)}")
