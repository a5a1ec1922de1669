"""Whether the code of this program can read what a store holds: every row decoded, and nothing changed.

For the moment before a deployment. Reads pages, each in a read transaction of its own, and keeps counts: neither the
store's other users nor the memory of this process notice how much there is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final, TypeVar, final

import trio
from attrs import frozen

from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import LIVE_STATES, TaskState
from milepost.registry import Registry
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Session, Store
from milepost.tasks import AnyTask
from milepost.text import table

_Kind = TypeVar("_Kind", bound=Hashable)

_PAGE_ROWS: Final = 100
_EXAMPLES_MAX: Final = 3
_KINDS_MAX: Final = 1_000
"""Fields and problems come from types, and are few; what comes of damaged rows could be without end."""


@final
@frozen
class Incompatible:
    """Rows of one task and version that this program cannot read, all for one reason.

    `part` is the payload (metadata, execution metadata, initial execution metadata, result, error; empty: the whole
    row), `field` the path in it as in `$.lines[].price`. `example` tells of the first of them in full.
    """

    task: str
    version: int
    part: str
    field: str
    problem: str
    count: int
    example_ids: tuple[TaskId, ...]
    example: str


@final
@frozen
class UnknownTask:
    """Rows of a name that no task has: nobody would run them."""

    task: str
    count: int
    example_ids: tuple[TaskId, ...]


@final
@frozen
class NewerVersion:
    """Rows of a newer version than this program's: it leaves them to programs that know it, and fails none."""

    task: str
    version: int
    known: int
    count: int
    example_ids: tuple[TaskId, ...]


@final
@frozen
class CompatibilityReport:
    """What `check_compatibility` found in `checked` rows. `untold` problems were of too many kinds to keep apart."""

    checked: int
    incompatible: tuple[Incompatible, ...] = ()
    unknown: tuple[UnknownTask, ...] = ()
    newer: tuple[NewerVersion, ...] = ()
    untold: int = 0

    @property
    def is_compatible(self) -> bool:
        """Whether this program can read every row of the tasks that it has."""
        return not self.incompatible and not self.untold

    @property
    def is_clean(self) -> bool:
        """Whether it is compatible, and has a task for every row."""
        return self.is_compatible and not self.unknown

    def __str__(self) -> str:
        return "\n\n".join(_sections(self))


def check_compatibility_blocking(store: Store, tasks: Iterable[AnyTask], *, final: bool = False) -> CompatibilityReport:
    """`check_compatibility` for programs without trio."""
    checking = _Checking(tasks, final=final)
    while checking.look_at(store.read_blocking(checking.page)):
        pass
    return checking.report()


async def check_compatibility(store: Store, tasks: Iterable[AnyTask], *, final: bool = False) -> CompatibilityReport:
    """Decode every live row with the code of `tasks`, upgrades included, and report what cannot be read.

    Quarantined rows are live, completed, failed and cancelled ones are not: they are read, result and error too, if
    `final`. Only reads, so the right to read is all that it needs; rows that come or change meanwhile may be seen or
    not. Raises `TaskDefinitionError` for tasks that cannot be run together, and `StoreError`.
    """
    checking = _Checking(tasks, final=final)
    # Decoding runs the code of classes and upgrades, for as long as there are rows.
    while await trio.to_thread.run_sync(checking.look_at, await store.read(checking.page)):
        pass
    return checking.report()


@final
class _Checking:
    """The pages so far, as counts."""

    def __init__(self, tasks: Iterable[AnyTask], *, final: bool) -> None:
        self._tasks = Registry.of(tasks).tasks
        self._states = tuple(sorted(TaskState if final else LIVE_STATES, key=lambda state: state.value))
        self._cursor: TaskId | None = None
        self._checked = 0
        self._untold = 0
        self._incompatible: dict[tuple[str, int, str, str, str], _Found] = {}
        self._unknown: dict[str, _Found] = {}
        self._newer: dict[tuple[str, int], _Found] = {}

    def page(self, session: Session) -> list[TaskRecord]:
        """The next rows."""
        return session.search(TaskFilter(states=self._states, cursor=self._cursor), limit=_PAGE_ROWS)

    def look_at(self, records: Sequence[TaskRecord]) -> bool:
        """Decode a page; False after the last one."""
        for record in records:
            self._look_at(record)
        self._checked += len(records)
        self._cursor = records[-1].id if records else self._cursor
        return len(records) == _PAGE_ROWS

    def _look_at(self, record: TaskRecord) -> None:
        task = self._tasks.get(record.name)
        if task is None:
            self._note(self._unknown, record.name, record, "")
        elif record.version > task.version:
            self._note(self._newer, (record.name, record.version), record, "")
        else:
            for found in task.faults_of(record):
                kind = (record.name, record.version, found.part, found.fault.field, found.fault.problem)
                self._note(self._incompatible, kind, record, str(found.refusal))

    def _note(self, kinds: dict[_Kind, _Found], kind: _Kind, record: TaskRecord, told: str) -> None:
        found = kinds.get(kind)
        if found is None:
            if len(kinds) >= _KINDS_MAX:
                self._untold += 1
                return
            found = kinds[kind] = _Found(told)
        found.count += 1
        if len(found.ids) < _EXAMPLES_MAX:
            found.ids.append(record.id)

    def report(self) -> CompatibilityReport:
        """All that was found."""
        return CompatibilityReport(
            self._checked,
            tuple(Incompatible(*kind, f.count, tuple(f.ids), f.told) for kind, f in sorted(self._incompatible.items())),
            tuple(UnknownTask(name, f.count, tuple(f.ids)) for name, f in sorted(self._unknown.items())),
            tuple(
                NewerVersion(name, version, self._tasks[name].version, f.count, tuple(f.ids))
                for (name, version), f in sorted(self._newer.items())
            ),
            self._untold,
        )


@final
class _Found:
    def __init__(self, told: str) -> None:
        self.told = told
        self.count = 0
        self.ids: list[TaskId] = []


def _sections(report: CompatibilityReport) -> Iterator[str]:
    if report.is_compatible:
        yield f"{report.checked:,} tasks looked at: all that this program has tasks for can be read"
    else:
        yield f"{report.checked:,} tasks looked at: some cannot be read"
        yield table(
            ("task", "version", "payload", "field", "problem", "count", "examples"),
            [
                (each.task, each.version, each.part or "-", each.field, each.problem, each.count, _ids(each))
                for each in report.incompatible
            ],
        )
    if report.untold:
        yield f"and {report.untold:,} problems of further kinds"
    if report.unknown:
        rows = [(each.task, each.count, _ids(each)) for each in report.unknown]
        yield "rows of tasks that this program does not have\n" + table(("task", "count", "examples"), rows)
    if report.newer:
        newer = [(each.task, each.version, each.known, each.count, _ids(each)) for each in report.newer]
        heading = "rows of newer versions, which it leaves to programs that know them"
        yield f"{heading}\n" + table(("task", "version", "known", "count", "examples"), newer)


def _ids(each: Incompatible | UnknownTask | NewerVersion) -> str:
    more = ", ..." if each.count > len(each.example_ids) else ""
    return ", ".join(each.example_ids) + more
