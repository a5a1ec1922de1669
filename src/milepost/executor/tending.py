"""Now and then, any executor sees to what nobody else does: who waits for a limit though there is room is let in, idle
rates are forgotten, and so are named events that were kept for long enough."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial

import trio

from milepost.errors import StoreError
from milepost.executor.limiting import tend
from milepost.lifecycle.limits import LimitKey
from milepost.lifecycle.transition import Policy
from milepost.stores.protocol import Session, Store

TEND_SECONDS = 30.0
_NEXT_SECONDS = 1.0

EVENTS_MAX = 500
"""How many events one step forgets at most."""


async def tend_limits(
    store: Store, policies: Callable[[], Mapping[str, Policy]], poll_seconds: Callable[[], float]
) -> None:
    """Tend for ever, a bounded number of keys at a time, and no more often than the executor looks for work.

    A store that is away is left to the turns to report.
    """
    after, is_done = None, True
    while True:
        # Not all executors at the same time: each finds what the one before it has left.
        rest_seconds = max(TEND_SECONDS, poll_seconds()) * random.uniform(0.5, 1)
        await trio.sleep(rest_seconds if is_done else _NEXT_SECONDS)
        try:
            after, is_done = await store.transact(partial(tend_all, policies=policies(), after=after))
        except StoreError:
            after, is_done = None, True


def tend_all(session: Session, policies: Mapping[str, Policy], after: LimitKey | None) -> tuple[LimitKey | None, bool]:
    """One step; gives behind which key of a limit the next one goes on, and whether there is nothing left to do."""
    now = session.now()
    forgotten = session.events.forget(before=now, limit=EVENTS_MAX)
    after = tend(session, policies, now=now, after=after)
    return after, after is None and forgotten < EVENTS_MAX
