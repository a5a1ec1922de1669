"""Waiting for room in a full queue: ask again when a task has ended somewhere, and once a second in any case.

Nobody is promised the next place: whoever asks first when there is room gets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio
from returns.result import Failure, Result, Success

from milepost.client.checks import checked_timeout
from milepost.client.verbs import EnqueueAnswer, enqueue, enqueue_again
from milepost.errors import CommitUnknown, ConfigurationError, StoreError
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.refusals import EnqueueRefusal
from milepost.stores.enqueueing import Enqueued
from milepost.stores.intake import RoomAwaited
from milepost.stores.protocol import Hint, Store

_POLL_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.02
"""A busy fleet ends tasks all the time, and each try is a transaction."""

Settled: TypeAlias = Result[tuple[Enqueued, ...], EnqueueRefusal]


async def stored(store: Store, drafts: Sequence[Draft], timeout_seconds: float | None) -> Settled:
    """Store drafts, all or none, once there is room; a lost reply is asked for once more."""

    async def ask() -> EnqueueAnswer:
        try:
            return await store.transact(enqueue(drafts))
        except CommitUnknown as unknown:
            try:
                return await store.transact(enqueue_again(drafts))
            except StoreError as fault:
                raise unknown from fault

    return await until_room(store, ask, timeout_seconds)


def stored_blocking(store: Store, drafts: Sequence[Draft], timeout_seconds: float | None) -> Settled:
    """`stored` for a thread without trio."""

    def ask() -> EnqueueAnswer:
        try:
            return store.transact_blocking(enqueue(drafts))
        except CommitUnknown as unknown:
            try:
                return store.transact_blocking(enqueue_again(drafts))
            except StoreError as fault:
                raise unknown from fault

    return until_room_blocking(store, ask, timeout_seconds)


async def until_room(store: Store, ask: Callable[[], Awaitable[EnqueueAnswer]], seconds: float | None) -> Settled:
    """What `ask` answers, once that is not to wait for room; after `seconds` that the queue is full."""
    limit = _limit(seconds)
    settled = _settled(await ask())
    if not isinstance(settled, RoomAwaited):
        return settled
    give_up_at = trio.current_time() + limit
    watch = store.watch(Hint.FINAL)
    try:
        # There may have been room between the first try and the start of the watch.
        while isinstance(settled := _settled(await ask()), RoomAwaited):
            left = give_up_at - trio.current_time()
            if left <= 0:
                return Failure(settled.full)
            await watch.wait(min(left, _POLL_SECONDS))
            await trio.sleep(min(left, _PAUSE_SECONDS))
    finally:
        watch.close()
    return settled


def until_room_blocking(store: Store, ask: Callable[[], EnqueueAnswer], seconds: float | None) -> Settled:
    """`until_room` for a thread without trio."""
    limit = _limit(seconds)
    settled = _settled(ask())
    if not isinstance(settled, RoomAwaited):
        return settled
    give_up_at = time.monotonic() + limit
    watch = store.watch(Hint.FINAL)
    try:
        while isinstance(settled := _settled(ask()), RoomAwaited):
            left = give_up_at - time.monotonic()
            if left <= 0:
                return Failure(settled.full)
            watch.wait_blocking(min(left, _POLL_SECONDS))
            threading.Event().wait(min(left, _PAUSE_SECONDS))
    finally:
        watch.close()
    return settled


def _settled(answer: EnqueueAnswer) -> Settled | RoomAwaited:
    if isinstance(answer, Success):
        return Success(answer.unwrap())
    refusal = answer.failure()
    return refusal if isinstance(refusal, RoomAwaited) else Failure(refusal)


def _limit(seconds: float | None) -> float:
    limit = checked_timeout(seconds)
    if limit < 0:
        raise ConfigurationError(f"timeout_seconds of an enqueue is 0 or more, or None for no limit, got {seconds!r}")
    return limit
