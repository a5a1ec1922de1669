"""A group of requests that is waited for as one: its members run side by side, and its head goes on once they ended.

A frozen value; making one stores nothing. What becomes of the members is decided in `lifecycle.joining`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, final

from attrs import frozen

from milepost.clock import EPOCH
from milepost.codec.scalars import shown
from milepost.errors import TaskDefinitionError
from milepost.ids import new_id
from milepost.kinds import is_a
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.joining import GROUP_NAME
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.ties import Join
from milepost.payload import JsonText, PayloadRefused
from milepost.tasks.definition import TaskRequest

AnyRequest: TypeAlias = TaskRequest[Any, Any, Any, Any]
GroupMember: TypeAlias = "AnyRequest | TaskGroup"

_BLANK = TaskRecord(id=TaskId(""), name=GROUP_NAME, created_at=EPOCH)
_NOTHING = JsonText("{}")


@final
@frozen
class TaskGroup:
    """Requests that are enqueued together, in one transaction, and waited for as one; made by `group`.

    It is a follow-up, and a member of other groups, like a request.
    """

    members: tuple[GroupMember, ...]
    then: AnyRequest | None = None
    on: Join = Join.ALL_SUCCEEDED
    fail_fast: bool = False

    @property
    def name(self) -> str:
        """The name of its head: that of its continuation, if it has one."""
        return GROUP_NAME if self.then is None else self.then.task.name

    @property
    def rejects_conflict(self) -> bool:
        """Whether a taken key would be refused; such a group cannot be a follow-up."""
        return any(each.rejects_conflict for each in (*self.members, *filter(None, [self.then])))

    def drafts(self, audit: Audit = Audit.TRANSITIONS) -> list[Draft] | PayloadRefused:
        """Everything encoded, each member before what waits for it: the head comes last.

        `audit` is for requests and tasks that ask for none of their own. Raises `TaskDefinitionError` as
        `TaskRequest.draft`.
        """
        head = self._head(audit)
        if isinstance(head, PayloadRefused):
            return PayloadRefused(f"then ({self.name}): {head.path}", head.reason)
        found: list[Draft] = []
        heads: list[TaskId] = []
        for ordinal, member in enumerate(self.members):
            drafts = drafts_of(member, audit)
            if isinstance(drafts, PayloadRefused):
                return PayloadRefused(f"member {ordinal} ({member_name(member)}): {drafts.path}", drafts.reason)
            *inner, last = drafts
            found += [*inner, last._replace(parent=head.id, parent_position=f"1.0.{ordinal}")]
            heads.append(last.id)
        join = self.on.failing_fast if self.fail_fast else self.on
        return [*found, head._replace(waits_for=tuple(heads), join=join)]

    def _head(self, audit: Audit) -> Draft | PayloadRefused:
        if self.then is not None:
            return self.then.draft(audit)
        return Draft(_BLANK, TaskId(new_id()), _NOTHING, _NOTHING, "default", 0, audit)


def group(
    requests: Iterable[GroupMember],
    *,
    then: AnyRequest | None = None,
    on: Join = Join.ALL_SUCCEEDED,
    fail_fast: bool = False,
) -> TaskGroup:
    """Requests, or groups of them, to be enqueued together and waited for as one.

    `then` is enqueued with them and runs once all have succeeded; it finds their outcomes in `execution.children`. With
    `on=ALL_FINISHED` it runs once all are final, whatever became of them; else, if one has not succeeded, it is
    cancelled. With `fail_fast` the first member that ends without a success has the others cancelled. Of an empty group
    `then` runs at once. Raises `TaskDefinitionError` for what is none of these.
    """
    if not hasattr(requests, "__iter__"):
        raise TaskDefinitionError(f"a group takes a list of requests, got {shown(requests)}")
    members = tuple(requests)
    for index, member in enumerate(members):
        if not is_a(member, TaskRequest | TaskGroup):
            raise TaskDefinitionError(
                f"member {index} of a group is what task.with_metadata(...) or group(...) gives, got {shown(member)}"
            )
    if then is not None and not is_a(then, TaskRequest):
        raise TaskDefinitionError(
            f"then= of a group is one request, as task.with_metadata(...) gives it, got {shown(then)}"
        )
    if then is not None and then.start is not None:
        raise TaskDefinitionError(
            f"then= of a group begins when its members have ended, so it takes no after() or at(), got {shown(then)}"
        )
    if on not in (Join.ALL_SUCCEEDED, Join.ALL_FINISHED):
        raise TaskDefinitionError(f"on= of a group is ALL_SUCCEEDED or ALL_FINISHED, got {shown(on)}")
    return TaskGroup(members, then, on, bool(fail_fast))


def drafts_of(member: GroupMember, audit: Audit) -> list[Draft] | PayloadRefused:
    """What a request or a group becomes; the last one stands for all of it."""
    if isinstance(member, TaskGroup):
        return member.drafts(audit)
    draft = member.draft(audit)
    return draft if isinstance(draft, PayloadRefused) else [draft]


def member_name(member: GroupMember) -> str:
    """The name of the task that stands for a request or a group."""
    return member.name if isinstance(member, TaskGroup) else member.task.name
