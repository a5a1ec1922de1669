"""Human progress: kept for the owner only, and neither a new revision nor history."""

from __future__ import annotations

import attrs

from milepost.lifecycle import events
from milepost.payload import JsonText
from milepost.stores.protocol import Report, Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    apply,
    claim,
    claim_one,
    dump,
    get,
    history,
    insert,
    same,
    sample,
    samples,
    task_id,
    unchanged,
)


async def a_report_of_the_owner_is_kept_without_a_new_revision(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    lines = await history(store, claimed.id)
    await _report(store, Report(claimed.id, claimed.token or "", 0.25, "a quarter, 'éé' 🛤"))
    wanted = attrs.evolve(claimed, progress=0.25, progress_note="a quarter, 'éé' 🛤")
    same(await get(store, claimed.id), wanted, "a running task after a report")
    same(await history(store, claimed.id), lines, "its history")


async def the_latest_report_wins(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    token = claimed.token or ""
    await _report(store, Report(claimed.id, token, 0.5, "half"), Report(claimed.id, token, 0.75, "more"))
    same((await get(store, claimed.id)).progress_note, "more", "the later one of a call")
    await _report(store, Report(claimed.id, token, 0.1, "back"))
    same((await get(store, claimed.id)).progress, 0.1, "a later call with less")


async def a_report_does_not_make_the_owners_write_stale(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await _report(store, Report(claimed.id, claimed.token or "", 0.5, ""))
    await apply(store, claimed, events.Committed(JsonText("1")))
    same((await get(store, claimed.id)).progress, 0.5, "the progress that was reported before the write")


async def a_report_of_another_token_changes_nothing(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    before = await dump(store)
    await _report(store, Report(claimed.id, "forged", 0.5, "x"), Report(task_id(9), claimed.token or "", 0.5, "x"))
    await unchanged(store, before, "after reports of nobody")


async def a_report_of_a_robbed_owner_changes_nothing(store: Store) -> None:
    robbed = await claim_one(store, sample(1))
    await claim(store, "bob", now=NOW + 2 * HOUR)
    before = await dump(store)
    await _report(store, Report(robbed.id, robbed.token or "", 0.5, "x"))
    await unchanged(store, before, "after a report of a robbed owner")


async def a_report_after_the_end_changes_nothing(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    await apply(store, claimed, events.Succeeded(JsonText("1")))
    before = await dump(store)
    await _report(store, Report(claimed.id, claimed.token or "", 0.5, "x"))
    await unchanged(store, before, "after a report on an ended task")


async def reports_reach_each_its_own_task(store: Store) -> None:
    await insert(store, *samples(1, 2, 3))
    claimed = await claim(store)
    await _report(store, *(Report(r.id, r.token or "", n / 10, str(n)) for n, r in enumerate(claimed[:2])))
    progress = [(await get(store, record.id)).progress for record in claimed]
    same(progress, [0.0, 0.1, None], "the progress of three tasks, two of them reported")


async def _report(store: Store, *reports: Report) -> None:
    await store.transact(lambda session: session.report(reports))
