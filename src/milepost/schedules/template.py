"""What a schedule enqueues: a request, encoded, so that any executor can repeat it without knowing the task."""

from __future__ import annotations

from typing import Any, final

from attrs import field, frozen
from returns.result import Result, Success

from milepost.clock import EPOCH
from milepost.ids import new_id
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.record import Audit, TaskId, TaskRecord
from milepost.lifecycle.ties import Tie
from milepost.payload import (
    PAYLOAD_BYTES_LIMIT,
    PAYLOAD_DEPTH_MAX,
    Json,
    JsonText,
    PayloadRefused,
    parse_json_text,
    to_json_text,
)
from milepost.schedules.stored import Misread, NothingOr, Plain, Shape, member, number, read_text, text

_BYTES_MAX = 3 * PAYLOAD_BYTES_LIMIT  # two payloads, and what little there is around them
_DEPTH_MAX = PAYLOAD_DEPTH_MAX + 1


@final
@frozen(kw_only=True)
class RequestTemplate:
    """Everything of a request but when it is enqueued and under which id. The payloads are canonical JSON text."""

    name: str
    version: int
    queue: str
    priority: int
    audit: Audit
    correlation: str | None
    metadata: JsonText = field(repr=False)
    execution_metadata: JsonText = field(repr=False)
    deadline_seconds: float | None
    start_within_seconds: float | None
    rate_key: str | None
    concurrency_key: str | None
    ties: Tie

    @classmethod
    def of(cls, draft: Draft) -> RequestTemplate:
        """What `draft` has in common with all that are like it."""
        rate_key, concurrency_key = draft.limit_keys
        return cls(
            name=draft.name,
            version=draft.blank.version,
            queue=draft.queue,
            priority=draft.priority,
            audit=draft.audit,
            correlation=draft.correlation,
            metadata=draft.metadata_json,
            execution_metadata=draft.execution_metadata_json,
            deadline_seconds=draft.blank.deadline_seconds,
            start_within_seconds=draft.start_within_seconds,
            rate_key=rate_key,
            concurrency_key=concurrency_key,
            ties=draft.blank.ties,
        )

    def draft(self) -> Draft:
        """The request once more, under a fresh id."""
        blank = TaskRecord(
            id=TaskId(""),
            name=self.name,
            version=self.version,
            deadline_seconds=self.deadline_seconds,
            ties=self.ties,
            created_at=EPOCH,
        )
        return Draft(
            blank,
            TaskId(new_id()),
            self.metadata,
            self.execution_metadata,
            self.queue,
            self.priority,
            self.audit,
            correlation=self.correlation,
            start_within_seconds=self.start_within_seconds,
            limit_keys=(self.rate_key, self.concurrency_key),
        )


def template_to_json(template: RequestTemplate) -> JsonText:
    """The stored form: canonical, so that requests differ exactly when their texts do."""
    return to_json_text(_TEMPLATE.write(template), bytes_max=_BYTES_MAX, depth_max=_DEPTH_MAX).unwrap()


def template_from_json(stored: str) -> Result[RequestTemplate, PayloadRefused]:
    """The template of its stored form, or where and why it is none."""
    return read_text(_TEMPLATE, stored)


@final
@frozen
class _Payload:
    """A payload stands in the stored form as the JSON that it is, so that people can read it there."""

    def write(self, value: Any) -> Json:
        """The JSON value."""
        plain: Json = parse_json_text(value)
        return plain

    def read(self, plain: Json, path: str) -> JsonText:
        """The text: the same one, for the text of a payload is canonical."""
        written = to_json_text(plain, bytes_max=PAYLOAD_BYTES_LIMIT)
        if isinstance(written, Success):
            same: JsonText = written.unwrap()
            return same
        refusal = written.failure()
        raise Misread(f"{path}{refusal.path.removeprefix('$')}", refusal.reason)


_payload = _Payload()
_seconds: NothingOr[float] = NothingOr(Plain(float, float, float))
_TEMPLATE = Shape(
    RequestTemplate,
    {
        "name": text,
        "version": number,
        "queue": text,
        "priority": number,
        "audit": member(Audit),
        "correlation": NothingOr(text),
        "metadata": _payload,
        "execution_metadata": _payload,
        "deadline_seconds": _seconds,
        "start_within_seconds": _seconds,
        "rate_key": NothingOr(text),
        "concurrency_key": NothingOr(text),
        "ties": Plain(lambda ties: ties.value, Tie, int),
    },
)
