"""Now and then, any executor sees to limits: who waits though there is room is let in, idle rates are forgotten."""

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


async def tend_limits(store: Store, policies: Callable[[], Mapping[str, Policy]]) -> None:
    """Tend for ever, a bounded number of keys at a time. A store that is away is left to the turns to report."""
    after: LimitKey | None = None
    while True:
        # Not all executors at the same time: each finds what the one before it has left.
        await trio.sleep(_NEXT_SECONDS if after is not None else TEND_SECONDS * random.uniform(0.5, 1))
        try:
            after = await store.transact(partial(_tended, policies=policies(), after=after))
        except StoreError:
            after = None


def _tended(session: Session, policies: Mapping[str, Policy], after: LimitKey | None) -> LimitKey | None:
    return tend(session, policies, now=session.now(), after=after)
