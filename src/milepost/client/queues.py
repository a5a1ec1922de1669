"""What a program says and asks of queues, as functions of a session that both clients call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TypeAlias, TypeVar, final

from attrs import frozen

from milepost.client.checks import checked_reason
from milepost.lifecycle.queues import QueueChanges, QueueSettings, Unset, WhenFull
from milepost.stores import queues as stored
from milepost.stores.protocol import Session
from milepost.stores.tables import QueueLoad
from milepost.tasks.checks import checked_setting_name

T = TypeVar("T")

Verb: TypeAlias = Callable[[Session], T]


@final
@frozen(kw_only=True)
class QueueInfo:
    """One queue: what was said of it, and how many live tasks it has.

    Of those that are `waiting` for a time or a slot, `due` could start now, the first of them since `oldest_due_at`.
    Others are `running`, `suspended` until somebody proceeds them, or `quarantined`.
    """

    name: str
    settings: QueueSettings
    waiting: int
    due: int
    running: int
    suspended: int
    quarantined: int
    oldest_due_at: datetime | None


def pause(name: str, reason: str) -> Verb[QueueSettings]:
    """Let nothing start in the queue."""
    return partial(stored.pause_queue, name=_checked(name), reason=checked_reason(reason))


def resume(name: str) -> Verb[QueueSettings]:
    """Let tasks of the queue start again."""
    return partial(stored.resume_queue, name=_checked(name))


def change(
    name: str,
    *,
    weight: int | Unset,
    concurrency: int | Unset | None,
    capacity: int | Unset | None,
    when_full: WhenFull | Unset,
    spill_to: str | Unset | None,
) -> Verb[QueueSettings]:
    """Change what is given of the queue's settings. Raises `ConfigurationError` for what is out of range."""
    if spill_to is not None and not isinstance(spill_to, Unset):
        _checked(spill_to)
    changes = QueueChanges(
        weight=weight, concurrency=concurrency, capacity=capacity, when_full=when_full, spill_to=spill_to
    )
    return partial(stored.change_queue, name=_checked(name), changes=changes)


def queues(session: Session) -> list[QueueInfo]:
    """Every queue that has settings or live tasks, by name."""
    settings = {each.name: each for each in session.settings.all()}
    loads = {each.queue: each for each in session.settings.loads(now=session.now())}
    return [
        _info(settings.get(name) or QueueSettings(name=name), loads.get(name) or QueueLoad(queue=name))
        for name in sorted(settings.keys() | loads.keys())
    ]


def _info(settings: QueueSettings, load: QueueLoad) -> QueueInfo:
    return QueueInfo(
        name=settings.name,
        settings=settings,
        waiting=load.waiting,
        due=load.due,
        running=load.running,
        suspended=load.suspended,
        quarantined=load.quarantined,
        oldest_due_at=load.oldest_due_at,
    )


def _checked(name: str) -> str:
    return checked_setting_name(name, "queue")
