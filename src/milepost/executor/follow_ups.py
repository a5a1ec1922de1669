"""What a result enqueues, encoded while its run settles, so that the turn has nothing left to do but to insert it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from milepost.codec.scalars import shown
from milepost.errors import InvalidResult
from milepost.kinds import is_a
from milepost.lifecycle.draft import Draft, OnConflict
from milepost.lifecycle.record import TaskRecord
from milepost.payload import PayloadRefused
from milepost.results import FollowUp
from milepost.tasks import AnyTask, TaskRequest
from milepost.tasks.group import GroupMember, TaskGroup, drafts_of, member_name


def follow_up_drafts(task: AnyTask, follow_ups: Sequence[FollowUp], record: TaskRecord) -> tuple[Draft, ...]:
    """The drafts of everything that a result of `record` carries; those without a parent are its own children.

    Raises `InvalidResult` for what cannot be stored, and `TaskDefinitionError` as `TaskRequest.draft`.
    """
    found: list[Draft] = []
    for place, follow_up in enumerate(follow_ups):
        request = _request(task, place, follow_up)
        drafts = drafts_of(request, record.audit)
        if isinstance(drafts, PayloadRefused):
            told = f"the follow-up {place} ({member_name(request)}) that {task.name!r} returned cannot be stored"
            raise InvalidResult(f"{told}: {drafts}")
        found += drafts
    return tuple(found)


def may_be_refused(draft: Draft, parent: TaskRecord) -> bool:
    """Whether its insertion may be refused: an id of its own may be taken, a holder that it replaces may run, and its
    parent, where it holds the key itself, cannot be waited for in its place."""
    if draft.key is None:
        return draft.replays
    return (
        draft.replays
        or draft.on_conflict is not OnConflict.KEEP
        or (draft.name, draft.key) == (parent.name, parent.key)
    )


def _request(task: AnyTask, place: int, follow_up: FollowUp) -> GroupMember:
    # What a result may carry is only a protocol to it: the results know no tasks.
    if is_a(follow_up, TaskRequest | TaskGroup):
        return cast("GroupMember", follow_up)
    told = f"a {type(follow_up).__name__}" if task.has_secrets else shown(follow_up)
    raise InvalidResult(
        f"the follow-up {place} that {task.name!r} returned is none: give what task.with_metadata(...) or group(...) "
        f"gives, got {told}"
    )
