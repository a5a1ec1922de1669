"""A request never changes, but for the edit of a requeue, which changes it whole."""

from __future__ import annotations

from milepost.lifecycle import events
from milepost.lifecycle.events import Edited
from milepost.payload import JsonText
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    NOW,
    SECOND,
    apply,
    claim,
    claim_one,
    decided,
    get,
    history,
    insert,
    same,
    sample,
    write,
)

_X = JsonText('{"page":1}')
_EDITED = Edited(JsonText('{"n":"edited"}'), JsonText('{"page":2}'), version=7)


async def an_edit_rewrites_the_request_whole(store: Store) -> None:
    ended = await apply(store, await claim_one(store, sample(1)), events.Failed(_X))
    other = await apply(store, await claim_one(store, sample(2)), events.Failed(_X))
    after = await apply(store, ended, events.Requeued(edited=_EDITED), now=NOW + SECOND)
    same(after.metadata_json, _EDITED.metadata, "the edited metadata")
    same(await get(store, ended.id), after, "the edited task")
    same(await get(store, other.id), other, "a task beside it")
    (again,) = await claim(store, names={"send": 7}, now=NOW + SECOND)
    same(again.initial_execution_metadata_json, _EDITED.execution_metadata, "what the next claim starts from")


async def an_edit_that_comes_too_late_changes_nothing(store: Store) -> None:
    ended = await apply(store, await claim_one(store, sample(1)), events.Failed(_X))
    requeued = await apply(store, ended, events.Requeued())
    same(await write(store, decided(ended, events.Requeued(edited=_EDITED))), [False], "an edit of what went on")
    same(await get(store, ended.id), requeued, "the task")


async def several_edits_are_written_together(store: Store) -> None:
    ended = [await apply(store, await claim_one(store, sample(n)), events.Failed(_X)) for n in range(3)]
    changes = [
        decided(record, events.Requeued(edited=Edited(JsonText(str(n)), JsonText("{}"), n + 1)))
        for n, record in enumerate(ended)
    ]
    same(await write(store, *changes), [True] * 3, "the answers")
    for change in changes:
        same(await get(store, change.after.id), change.after, "an edited task")


async def history_keeps_who_asked_and_why(store: Store) -> None:
    await insert(store, sample(1))
    await apply(store, sample(1), events.CancelRequested("it's enough", by="ada o'hara"))
    line = (await history(store, sample(1).id))[-1]
    same((line.reason, line.by), ("it's enough", "ada o'hara"), "why and who")
    (first, *_) = await history(store, sample(1).id)
    same(first.by, "", "who asked for what nobody asked for")
