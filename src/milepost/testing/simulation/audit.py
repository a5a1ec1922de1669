"""Looks at the whole store after each transaction and says which invariant the last one broke.

It knows records, leases and who made the transaction, and takes nobody's word: what it compares with is what it saw
itself. The invariants are numbered as in docs/reference/reliability.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias, final

from attrs import frozen

from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Policy
from milepost.stores.protocol import Hint, Lease, Session, hints_of

_ALL: Final = 1_000_000_000


@final
@frozen
class Violation:
    """A promise that was not kept: which (`I1` to `I15`, or the name of a check), when, where, and what was seen."""

    invariant: str
    at_seconds: float
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.at_seconds:.3f} s, {self.where}: {self.what}"


@final
@frozen(kw_only=True)
class Change:
    """What one transaction did to one task, and what was so before it. None: there was, or is, no such task."""

    before: TaskRecord | None
    after: TaskRecord | None
    process: str
    is_client: bool
    now: datetime
    leases: Mapping[str, Lease]
    owner: str | None
    """The process that ran the task before."""

    @property
    def id(self) -> TaskId:
        """The task's id."""
        record = self.after or self.before
        assert record is not None
        return record.id


Invariant: TypeAlias = Callable[[Change], "str | None"]
"""Says what is wrong with a change; None: nothing."""


def single_writer(change: Change) -> str | None:
    """I1: a live claim is never taken over."""
    before, after = change.before, change.after
    if before is None or after is None or before.state is not TaskState.RUNNING or after.fence == before.fence:
        return None
    if change.owner == change.process:
        return None  # it gave back a claim whose reply was lost, and took the task again
    lease = change.leases.get(before.executor or "")
    if lease is None or not lease.is_alive(change.now):
        return None
    return f"taken over from {before.executor}, which is believed until {lease.lease_until.isoformat()}"


def fence_grows(change: Change) -> str | None:
    """I2: a fence grows by one at each claim, and is never lowered."""
    before, after = change.before, change.after
    if before is None or after is None:
        return None
    if after.fence - before.fence not in (0, 1):
        return f"the fence went from {before.fence} to {after.fence}"
    if after.fence == before.fence and after.token != before.token and after.state is TaskState.RUNNING:
        return f"another token under the same fence {after.fence}"
    return None


def only_the_owner_writes(change: Change) -> str | None:
    """I3: what a run has done is written by its owner, under its own claim, or not at all."""
    before, after = change.before, change.after
    if before is None or after is None or before.state is not TaskState.RUNNING or after.fence != before.fence:
        return None
    moved = after.state is not TaskState.RUNNING or after.sequence != before.sequence
    if moved and change.owner != change.process:
        return f"{change.process} wrote {after.state.value}/{after.sequence} over the claim of {change.owner}"
    return None


def progress_moves_on(change: Change) -> str | None:
    """I4: the sequence grows by one at each commit, and progress changes only with it."""
    before, after = change.before, change.after
    if before is None or after is None:
        return None
    if after.sequence - before.sequence not in (0, 1):
        return f"the sequence went from {before.sequence} to {after.sequence}"
    same = after.execution_metadata_json == before.execution_metadata_json
    if not same and after.sequence == before.sequence and after.epoch == before.epoch:
        return f"the execution metadata changed without a commit, at sequence {after.sequence}"
    return None


def nothing_vanishes(change: Change) -> str | None:
    """I5: what was acknowledged is there until a client removes it."""
    if change.after is None and not change.is_client:
        return "a task was removed by an executor"
    return None


def nothing_from_nowhere(change: Change) -> str | None:
    """I6: an executor adds only what a result or a schedule says."""
    after = change.after
    if change.before is not None or after is None or change.is_client:
        return None
    if after.parent is None and after.schedule is None:
        return f"{change.process} added a task without a parent or a schedule"
    return None


def final_is_final(change: Change) -> str | None:
    """I9: a final outcome never changes; a requeue is a new epoch."""
    before, after = change.before, change.after
    if before is None or after is None or not before.state.is_final or after.epoch > before.epoch:
        return None
    for name in ("state", "result_json", "error_json", "crash", "sequence", "fence", "finished_at"):
        if getattr(before, name) != getattr(after, name):
            return f"{name} of a final task changed"
    return None


def nothing_starts_early(change: Change) -> str | None:
    """I10: a task is claimed when it is due, and a suspended one without a wake-up not at all."""
    before, after = change.before, change.after
    if before is None or after is None or after.state is not TaskState.RUNNING or after.fence == before.fence:
        return None
    if before.state is TaskState.SUSPENDED and (before.join is not None or before.awaited_event is not None):
        return None  # the same transaction may have brought what it waited for
    if before.state in (TaskState.RETRYING, TaskState.SUSPENDED):
        if before.due_at is None:
            return f"a {before.state.value} task without a due time was claimed"
        if before.due_at > change.now:
            return f"claimed at {change.now.isoformat()}, due at {before.due_at.isoformat()}"
    return None


def a_cancel_holds(change: Change) -> str | None:
    """I11: a task whose end was asked for starts no new run, and is given up as that."""
    before, after = change.before, change.after
    if before is None or after is None or before.cancel_requested_at is None or after.epoch > before.epoch:
        return None
    if after.state is TaskState.RUNNING and after.fence > before.fence:
        return "a run began after its cancel was acknowledged"
    if after.state.is_live and after.state is not TaskState.RUNNING:
        return f"it went on as {after.state.value} after its cancel was acknowledged"
    if after.cancel_requested_at is None:
        return "the request for its end was forgotten"
    return None


INVARIANTS: Final[Mapping[str, Invariant]] = {
    "I1": single_writer,
    "I2": fence_grows,
    "I3": only_the_owner_writes,
    "I4": progress_moves_on,
    "I5": nothing_vanishes,
    "I6": nothing_from_nowhere,
    "I9": final_is_final,
    "I10": nothing_starts_early,
    "I11": a_cancel_holds,
}
"""The invariants that one change of one task can break."""


@final
class Audit:
    """What the store holds, as last seen, and what was wrong with it."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        stalls_max: int,
        invariants: Mapping[str, Invariant],
        note: Callable[[str, str], None],
        now: Callable[[], float],
    ) -> None:
        self.known: dict[TaskId, TaskRecord] = {}
        self.leases: dict[str, Lease] = {}
        self.owners: dict[str, str] = {}
        self.violations: list[Violation] = []
        self.sights: Counter[str] = Counter()
        self.checked = 0
        self._policies = policies
        self._stalls_max = stalls_max
        self._invariants = {**INVARIANTS, **invariants}
        self._now = now
        self._note = note
        self._tokens: dict[TaskId, set[str]] = {}
        self._stalls: Counter[TaskId] = Counter()

    def look(self, session: Session, process: str, *, is_client: bool) -> tuple[Sequence[Change], Hint]:
        """Compare with what was there before; gives what changed, and what those who listen want to hear of it."""
        now = session.now()
        leases = {each.executor: each for each in session.leases()}
        for executor in leases:
            if self.owners.setdefault(executor, process) == process and executor not in self.leases:
                self._note(process, f"opens the lease {executor}")
        records = [copied.record for copied in session.copy_out(0, limit=_ALL)]
        changes = list(self._changes(records, process, is_client, now))
        hints = Hint(0)
        for change in changes:
            if change.after is not None:
                hints |= hints_of(change.after)
            self._check(change)
            self._apply(change)
        self.leases = leases
        self.checked += len(changes)
        if changes:
            self._check_all(session, changes)
        return changes, hints

    def complain(self, invariant: str, where: str, what: str) -> None:
        """Something is wrong."""
        self.violations.append(Violation(invariant, self._now(), where, what))

    def _changes(self, records: Sequence[TaskRecord], process: str, is_client: bool, now: datetime) -> Iterator[Change]:
        known = self.known

        def change(before: TaskRecord | None, after: TaskRecord | None) -> Change:
            owner = None if before is None else self.owners.get(before.executor or "")
            return Change(
                before=before,
                after=after,
                process=process,
                is_client=is_client,
                now=now,
                leases=self.leases,
                owner=owner,
            )

        for record in records:
            before = known.get(record.id)
            if before is not record and before != record:
                yield change(before, record)
        if len(records) < len(known):
            left = {record.id for record in records}
            for id in [id for id in known if id not in left]:
                yield change(known[id], None)

    def _check(self, change: Change) -> None:
        for name, invariant in self._invariants.items():
            wrong = invariant(change)
            if wrong is not None:
                self.complain(name, f"task {change.id}", wrong)
        self._check_token(change)
        self._check_stalls(change)

    def _check_token(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None or after.token is None or (before is not None and before.token == after.token):
            return
        used = self._tokens.setdefault(after.id, set())
        if after.token in used:
            self.complain("I2", f"task {after.id}", "a token was used a second time")
        used.add(after.token)

    def _check_stalls(self, change: Change) -> None:
        """I12, by a count of its own: claims since the last sign of progress."""
        before, after = change.before, change.after
        if after is None:
            return
        if before is None or after.epoch > before.epoch or after.sequence > before.sequence:
            self._stalls[after.id] = 0
        elif after.fence > before.fence and after.state is TaskState.RUNNING:
            if after.failures > before.failures:
                self._stalls[after.id] = 0
            self._stalls[after.id] += after.interruptions == before.interruptions
            if self._stalls[after.id] > self._stalls_max:
                self.complain("I12", f"task {after.id}", f"run {self._stalls[after.id]} times without progress")
        elif before.state is TaskState.RUNNING and after.state is not TaskState.RUNNING:
            # A failure is an answer, and what was given back unstarted or by a graceful stop spends nothing.
            at_once = after.due_at is not None and after.due_at <= change.now
            if after.state is TaskState.PENDING and after.limited_by is None and at_once:
                return  # it suspended without progress, and spins
            if after.state in (TaskState.INTERRUPTED, TaskState.PENDING):
                self._stalls[after.id] -= 1
            elif after.state is not TaskState.QUARANTINED:
                self._stalls[after.id] = 0

    def _check_all(self, session: Session, changes: Sequence[Change]) -> None:
        """What one transaction can only break for several tasks together."""
        started = {
            change.after.id
            for change in changes
            if change.after is not None
            and change.after.state is TaskState.RUNNING
            and (change.before is None or change.before.state is not TaskState.RUNNING)
        }
        if started:
            self._check_limits(session, started)
        if any(change.before is None for change in changes):
            self._check_unique()

    def _check_limits(self, session: Session, started: set[TaskId]) -> None:
        running = [each for each in self.known.values() if each.state is TaskState.RUNNING]
        queues = {each.queue for each in running if each.id in started}
        for settings in session.settings.get(sorted(queues)).values():
            count = sum(each.queue == settings.name for each in running)
            if settings.concurrency is not None and count > settings.concurrency:
                self.complain("I14", f"queue {settings.name}", f"{count} run, the limit is {settings.concurrency}")
            if settings.is_paused:
                self.complain("I14", f"queue {settings.name}", "a task of a paused queue started")
        shares = Counter((each.name, each.concurrency_key) for each in running if each.concurrency_key is not None)
        for (name, key), count in shares.items():
            policy = self._policies.get(name)
            limit = None if policy is None else policy.concurrency_limit
            if limit is not None and count > limit.limit:
                self.complain("I14", f"{name} {key}", f"{count} run, the limit is {limit.limit}")

    def _check_unique(self) -> None:
        live = Counter((each.name, each.key) for each in self.known.values() if each.key and each.state.is_live)
        for (name, key), count in live.items():
            if count > 1:
                self.complain("I6", f"{name} {key}", f"{count} live tasks hold one key")
        for kind, places in (
            ("I7", Counter((e.parent, e.parent_position) for e in self.known.values() if e.parent is not None)),
            ("I13", Counter((e.schedule, e.schedule_at) for e in self.known.values() if e.schedule_at is not None)),
        ):
            for place, count in places.items():
                if count > 1:
                    self.complain(kind, " ".join(map(str, place)), f"{count} tasks for one place")

    def _apply(self, change: Change) -> None:
        before, after = change.before, change.after
        if after is None:
            del self.known[change.id]
            return
        self.known[change.id] = after
        self._see(before, after)

    def _see(self, before: TaskRecord | None, after: TaskRecord) -> None:
        """Count what is worth having seen."""
        sights = self.sights
        if before is None:
            sights["enqueued"] += 1
            sights["enqueued by a result"] += after.parent is not None
            sights["enqueued by a schedule"] += after.schedule is not None
        elif after.fence > before.fence:
            sights["reclaimed" if before.state is TaskState.RUNNING else "claimed or cancelled"] += 1
        if before is not None and before.sequence < after.sequence:
            sights["committed"] += 1
        if before is not None and before.cancel_requested_at is None and after.cancel_requested_at is not None:
            sights["cancel requested of a running task"] += 1
        if before is not None and before.state is not after.state:
            sights[after.state.value] += 1
            if before.state is TaskState.RUNNING and after.state is TaskState.COMPLETED and after.cancel_requested_at:
                sights["completed under a cancel"] += 1
        if before is not None and after.epoch > before.epoch:
            sights["requeued"] += 1
