"""Every promise of `stores/protocol.py` as a named check; a store that passes them all is a store.

The checks need no test framework and no sleeps: time is a value that they pass in. What a verb must do is never
written down twice: it is compared with the pure `transition`, `contains` and `enqueued_history`.
"""

from __future__ import annotations

from typing import cast

import trio

from milepost.testing.conformance import (
    audits,
    claim_order,
    claims,
    copies,
    deletion,
    edits,
    ends,
    events,
    filters,
    histories,
    joins,
    keys,
    leases,
    limits,
    logs,
    pages,
    payloads,
    proceeding,
    queues,
    reports,
    schedules,
    texts,
    ties,
    transactions,
    versions,
    watches,
    writes,
)
from milepost.testing.conformance.kit import MakeStore, StoreCheck, checks_in

__all__ = ["MakeStore", "StoreCheck", "check_store", "store_checks"]

_SECONDS_MAX = 60
"""A check that takes longer hangs: the store has lost a call."""


def store_checks() -> tuple[StoreCheck, ...]:
    """All checks, each to be run with a `make_store` that opens a fresh, empty store at each call."""
    return (
        *checks_in(claims),
        *checks_in(claim_order),
        *checks_in(writes),
        *checks_in(keys),
        *checks_in(filters),
        *checks_in(texts),
        *checks_in(pages),
        *checks_in(payloads),
        *checks_in(proceeding),
        *checks_in(histories),
        *checks_in(audits),
        *checks_in(edits),
        *checks_in(versions),
        *checks_in(logs),
        *checks_in(ends),
        *checks_in(reports),
        *checks_in(deletion),
        *checks_in(copies),
        *checks_in(queues),
        *checks_in(limits),
        *checks_in(ties),
        *checks_in(joins),
        *checks_in(schedules),
        *checks_in(events),
        *checks_in(leases),
        *checks_in(transactions),
        *checks_in(watches),
    )


async def check_store(make_store: MakeStore) -> None:
    """Run every check and raise one group that names each broken promise; silence means that it is a store."""
    broken: list[Exception] = []
    for check in store_checks():
        try:
            with trio.fail_after(_SECONDS_MAX):
                await check.run(make_store)
        except Exception as error:
            promise = AssertionError(f"{check.name}: {_told(error)}")
            promise.__cause__ = error
            broken.append(promise)
    if broken:
        raise ExceptionGroup(f"{len(broken)} of the store's promises are broken", broken)


def _told(error: Exception) -> str:
    # A nursery wraps what went wrong in a group, whose own text says nothing.
    if isinstance(error, ExceptionGroup):
        return "; ".join(_told(inner) for inner in cast("ExceptionGroup[Exception]", error).exceptions)
    return f"{type(error).__name__}: {error}"
