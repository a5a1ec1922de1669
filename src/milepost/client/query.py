"""Which tasks are meant, typed: `TaskQuery` knows the task's types and becomes the store's `TaskFilter`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Self, TypeVar, final

import attrs
from attrs import field, frozen
from returns.result import Result, Success
from typing_extensions import TypeVar as DefaultTypeVar

from milepost.codec import CodecFactory, TypeCodec
from milepost.codec.scalars import is_exactly, shown
from milepost.codec.usable import PRIMITIVES
from milepost.errors import ConfigurationError
from milepost.kinds import is_a
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import LIVE_STATES, TaskState
from milepost.payload import JsonText, PayloadRefused, from_json_text, storable_text, to_json_text
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.tasks import AnyTask, Task

T = TypeVar("T")
M = TypeVar("M")
X = TypeVar("X")
R = TypeVar("R")
E = TypeVar("E")
X_inv = DefaultTypeVar("X_inv", default=Any)

PAGE_SIZE_MAX = 1_000
TEXT_CHARACTERS_MAX = 200


@final
@frozen
class TaskPage:
    """Some tasks, and the cursor of the next page; None when there are no more."""

    records: tuple[TaskRecord, ...]
    next_cursor: TaskId | None


@final
@frozen
class TaskQuery(Generic[X_inv]):
    """Every condition must hold; of the values given to one `with_*`, any may. `TaskQuery()` means all tasks.

    Metadata and execution metadata are matched by containment: the named fields must be there with these values, and
    nested objects again by containment. Values may be of any type that a payload may hold.
    """

    filter: TaskFilter = field(factory=TaskFilter)
    page_size: int = 100
    task: AnyTask | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if not is_a(self.filter, TaskFilter):
            raise ConfigurationError(
                f"a TaskQuery is made by its methods, as TaskQuery().with_id(id), got {shown(self.filter)}"
            )
        if type(self.page_size) is not int or not 1 <= self.page_size <= PAGE_SIZE_MAX:
            raise ConfigurationError(f"a page has 1 to {PAGE_SIZE_MAX} tasks, got {shown(self.page_size)}")
        if self.task is not None and not is_a(self.task, Task):
            raise ConfigurationError(f"the task of a query is one that @task has made, got {shown(self.task)}")

    @staticmethod
    def for_task(task: Task[M, X, R, E]) -> TaskQuery[X]:
        """The tasks of this definition. Raises `ConfigurationError` for what is none."""
        if not is_a(task, Task):
            raise ConfigurationError(
                f"for_task() takes a task that @task has made, got {shown(task)}; by its name use with_name(name)"
            )
        wanted = TaskFilter(names=(task.name,))
        return TaskQuery[X](wanted, task=task)

    def with_id(self, *ids: TaskId) -> Self:
        """Tasks with one of these ids."""
        return self._with(ids=_each(ids, str, "an id is text, as a record or a handle has it"))

    def with_name(self, *names: str) -> Self:
        """Tasks with one of these names."""
        return self._with(names=_each(names, str, "a name is text, as task.name"))

    def with_state(self, *states: TaskState) -> Self:
        """Tasks in one of these states."""
        return self._with(states=_each(states, TaskState, "a state is a TaskState, as TaskState.FAILED"))

    def live(self) -> Self:
        """Tasks that are not yet completed, failed or cancelled."""
        return self.with_state(*sorted(LIVE_STATES, key=lambda state: state.value))

    def dead_letters(self) -> Self:
        """Tasks that wait for a person: failed or quarantined."""
        return self.with_state(TaskState.FAILED, TaskState.QUARANTINED)

    def with_queue(self, *queues: str) -> Self:
        """Tasks of one of these queues."""
        return self._with(queues=_each(queues, str, "a queue is text"))

    def with_key(self, *keys: str) -> Self:
        """Tasks with one of these keys."""
        return self._with(keys=_each(keys, str, "a key is text"))

    def with_correlation(self, *correlations: str) -> Self:
        """Tasks with one of these correlations."""
        return self._with(correlations=_each(correlations, str, "a correlation is text"))

    def with_parent(self, *parents: TaskId) -> Self:
        """Tasks that the results of one of these tasks have enqueued, and members of one of these groups."""
        return self._with(parents=_each(parents, str, "a parent is meant by its id, as a record or a handle has it"))

    def with_schedule(self, *schedules: str) -> Self:
        """Tasks that one of the schedules with these keys has enqueued, by a trigger too."""
        return self._with(schedules=_each(schedules, str, "a schedule is meant by its key, which is text"))

    def with_metadata(self, value: object = None, /, **fields: object) -> Self:
        """Tasks whose metadata contains `value` and these fields."""
        return self._with(metadata=self.filter.metadata + _parts(value, fields, None))

    def with_execution_metadata(self, value: X_inv | None = None, /, **fields: object) -> Self:
        """Tasks whose last committed execution metadata contains `value` and these fields."""
        parts = _parts(value, fields, None if self.task is None else self.task.codec.execution_metadata)
        return self._with(execution_metadata=self.filter.execution_metadata + parts)

    def created(self, *, start: datetime | None = None, before: datetime | None = None) -> Self:
        """Tasks enqueued from `start` on and before `before`, which is not before `start`."""
        _check_range("created", start, before)
        return self._with(created_from=start, created_before=before)

    def due(self, *, start: datetime | None = None, before: datetime | None = None) -> Self:
        """Waiting tasks that fall due from `start` on and before `before`."""
        _check_range("due", start, before)
        return self._with(due_from=start, due_before=before)

    def finished(self, *, start: datetime | None = None, before: datetime | None = None) -> Self:
        """Tasks that ended from `start` on and before `before`: completed, failed or cancelled."""
        _check_range("finished", start, before)
        return self._with(finished_from=start, finished_before=before)

    def with_text(self, *texts: str) -> Self:
        """Tasks in which one of these texts stands: in name, key, correlation, metadata, execution metadata, error, or
        a crash's type or message.

        Letters match in either case. Payloads are searched as the JSON that is stored, names of fields included; each
        text is 1 to 200 characters.
        """
        return self._with(texts=tuple(map(_searchable, texts)))

    def newest_first(self) -> Self:
        """Newest before oldest; the default is the other way."""
        return self._with(order=TaskOrder.NEWEST_FIRST)

    def after_cursor(self, cursor: TaskId | None) -> Self:
        """The page that follows one whose `next_cursor` this is; None is the first page."""
        if cursor is not None and (type(cursor) is not str or storable_text(cursor) != cursor):
            raise ConfigurationError(f"a cursor is what a page gave as its next_cursor, got {shown(cursor)}")
        return self._with(cursor=cursor)

    def with_page_size(self, page_size: int) -> Self:
        """Up to so many tasks a page, 1 to 1,000; the default is 100."""
        return attrs.evolve(self, page_size=page_size)

    def page(self, found: list[TaskRecord]) -> TaskPage:
        """The page that one more than `page_size` found records make."""
        records = tuple(found[: self.page_size])
        return TaskPage(records, records[-1].id if len(found) > self.page_size else None)

    def _with(self, **conditions: Any) -> Self:
        return attrs.evolve(self, filter=attrs.evolve(self.filter, **conditions))


def _parts(value: object, fields: dict[str, object], codec: TypeCodec[Any] | None) -> tuple[JsonText, ...]:
    factory = CodecFactory()
    parts: list[JsonText] = []
    if value is not None:
        encoded = codec.encode(value) if codec is not None else to_json_text(_plain(value, factory))
        parts.append(_or_raise(encoded))
    if fields:
        parts.append(_or_raise(to_json_text({name: _plain(item, factory) for name, item in fields.items()})))
    return tuple(parts)


def _plain(value: Any, factory: CodecFactory) -> Any:
    try:
        return _plainly(value, factory)
    except RecursionError:
        raise ConfigurationError("a query cannot look for this value: it is nested too deep") from None


def _plainly(value: Any, factory: CodecFactory) -> Any:
    if is_exactly(value, dict):
        return {str(_plainly(key, factory)): _plainly(item, factory) for key, item in value.items()}
    if is_exactly(value, list, tuple, set, frozenset):
        return [_plainly(item, factory) for item in value]
    if value is None or is_exactly(value, *PRIMITIVES):
        return value
    try:
        codec = factory.codec(type(value))
    except TypeError as error:
        raise ConfigurationError(f"a query cannot look for this value: {error}") from None
    return from_json_text(_or_raise(codec.encode(value))).unwrap()


def _or_raise(encoded: Result[JsonText, PayloadRefused]) -> JsonText:
    if isinstance(encoded, Success):
        text: JsonText = encoded.unwrap()
        return text
    raise ConfigurationError(f"a query cannot look for this value: {encoded.failure()}")


def _each(values: tuple[T, ...], kind: type, wanted: str) -> tuple[T, ...]:
    for value in values:
        if not isinstance(value, kind):
            raise ConfigurationError(f"{wanted}; give each as an argument of its own, got {shown(value)}")
    return values


def _searchable(text: str) -> str:
    if type(text) is not str or not 1 <= len(text) <= TEXT_CHARACTERS_MAX or storable_text(text) != text:
        raise ConfigurationError(f"a text to search for has 1 to {TEXT_CHARACTERS_MAX} characters, got {shown(text)}")
    return text


def checked_query(query: TaskQuery[X], verb: str) -> TaskQuery[X]:
    """`query` itself; raises `ConfigurationError` when it is none."""
    if type(query) is not TaskQuery:
        raise ConfigurationError(f"{verb} takes a TaskQuery, as TaskQuery().with_id(id), got {shown(query)}")
    return query


def _check_range(verb: str, start: datetime | None, before: datetime | None) -> None:
    first, end = aware(start), aware(before)
    if first is not None and end is not None and end < first:
        raise ConfigurationError(f"{verb}() needs a `before` that is not before its `start`, got {start} and {before}")


def aware(moment: datetime | None) -> datetime | None:
    """`moment` itself; raises `ConfigurationError` when it is no datetime or has no time zone."""
    if moment is not None and not is_a(moment, datetime):
        raise ConfigurationError(f"a time is a datetime with a time zone, got {shown(moment)}")
    if moment is not None and moment.utcoffset() is None:
        raise ConfigurationError(f"{moment!r} has no time zone: give it one, such as tzinfo=UTC")
    return moment
