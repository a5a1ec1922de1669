"""What runs ask of the executor while they run: progress, effects with progress, and reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar, cast, final

from returns.result import Result

from milepost.effects import Transaction
from milepost.errors import ClaimLost, StoreError
from milepost.executor.outbox import Parcel
from milepost.executor.run import Run
from milepost.executor.turn import Delivery, EffectRaised, deliver
from milepost.executor.turns import Turns
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.stores.protocol import Report, Session, Store
from milepost.tasks.execution import TaskLog

T = TypeVar("T")
E = TypeVar("E")


@final
class Commits:
    """The `Committer` of an executor's runs."""

    def __init__(self, store: Store, turns: Turns) -> None:
        self._store = store
        self._turns = turns

    async def commit(self, run: Run, execution_metadata: JsonText) -> None:
        """Return once the execution metadata is durable."""
        await run.begin_commit()
        try:
            await self._turns.outbox.put_and_wait(Parcel(run, run.moving(events.Committed(execution_metadata))))
        finally:
            run.end_commit()

    async def commit_with(
        self, run: Run, effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]]
    ) -> Result[T, E]:
        """Run the effect and commit in one transaction of its own."""
        await run.begin_commit()
        try:
            return await self._commit_with(run, effect)
        finally:
            run.end_commit()

    async def _commit_with(
        self, run: Run, effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]]
    ) -> Result[T, E]:
        turns = self._turns
        together = _Together(run, effect, turns.policy_of(run.task), turns.standing.renew_if_due)
        while True:
            sent_at = time.monotonic()
            try:
                answer, after = await self._store.transact(
                    together, alone=True, within_seconds=turns.config.effect_seconds
                )
            except _RolledBack as rolled_back:
                return cast("Result[T, E]", rolled_back.answer)
            except EffectRaised as raised:
                raise raised.error from None
            except ClaimLost:
                turns.lose(run)
                raise
            except StoreError as error:
                # The store is away: the run is kept as long as the lease rule keeps it, and the same tried again.
                await turns.back_off(error, sent_at)
                continue
            turns.answered(sent_at, renewed=together.renewed)
            turns.committed(run, after)
            return answer

    def report(self, run: Run, fraction: float, note: str) -> None:
        """Keep human progress for the next turn; the newest of a run replaces the one before."""
        if run.record.token is not None:
            self._turns.reports[run.id] = Report(run.id, run.record.token, fraction, note)

    def log_of(self, run: Run) -> TaskLog:
        """The logger of a run; the next turns store what it is told."""
        return self._turns.logs.log_of(run)


class _RolledBack(Exception):
    """Carries a failed effect's answer out of the transaction that it rolls back."""

    def __init__(self, answer: object) -> None:
        super().__init__(answer)
        self.answer = answer


@final
class _Together(Generic[T, E]):
    """Effect and commit as one function of a session; it remembers its answer, to be run again after a lost reply."""

    def __init__(
        self,
        run: Run,
        effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]],
        policy: Policy,
        renew: Callable[[Session], bool],
    ) -> None:
        self._known = run.record
        self._moving = run.moving
        self._effect = effect
        self._policy = policy
        self._renew = renew
        self._answer: Result[T, E] | None = None
        self.renewed = False

    def __call__(self, session: Session) -> tuple[Result[T, E], TaskRecord]:
        fresh = self._owned(session)
        if self._answer is not None and fresh.sequence == self._known.sequence + 1:
            return self._answer, fresh  # the last try was durable, only its reply was lost
        try:
            self._answer, text = self._effect(session.transaction)
        except Exception as error:
            raise EffectRaised(error) from error
        if text is None:
            raise _RolledBack(self._answer)
        committed = self._moving(events.Committed(text))
        after = deliver(session, [Delivery(fresh, committed, self._policy)], now=session.now())[0]
        if after is None:
            raise ClaimLost(f"the task {self._known.id} belongs to another run")
        self.renewed = self._renew(session)
        return self._answer, after

    def _owned(self, session: Session) -> TaskRecord:
        known = self._known
        for found in session.get([known.id]):
            if found.state is TaskState.RUNNING and (found.fence, found.token) == (known.fence, known.token):
                return found
        raise ClaimLost(f"the task {known.id} belongs to another run")
