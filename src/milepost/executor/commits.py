"""`commit_with`: the user's effect and the commit of progress in one transaction, which may have to be tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar, final

from returns.result import Result

from milepost.effects import Transaction
from milepost.errors import ClaimLost
from milepost.executor.turn import Delivery, deliver
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.states import TaskState
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.stores.protocol import Session

T = TypeVar("T")
E = TypeVar("E")


class RolledBack(Exception):
    """Carries a failed effect's answer out of the transaction that it rolls back."""

    def __init__(self, answer: object) -> None:
        super().__init__(answer)
        self.answer = answer


@final
class Together(Generic[T, E]):
    """A function of a session that keeps what it learned, so that it can be run again after a lost reply."""

    def __init__(
        self,
        known: TaskRecord,
        effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]],
        policy: Policy,
        renew: Callable[[Session], bool],
    ) -> None:
        self._known = known
        self._effect = effect
        self._policy = policy
        self._renew = renew
        self._answer: Result[T, E] | None = None

    def __call__(self, session: Session) -> tuple[Result[T, E], TaskRecord]:
        """Effect and commit; raises `RolledBack` with a failed effect's answer, and `ClaimLost`."""
        fresh = self._owned(session)
        if self._answer is not None and fresh.sequence == self._known.sequence + 1:
            return self._answer, fresh  # the last try was durable, only its reply was lost
        self._answer, text = self._effect(session.transaction)
        if text is None:
            raise RolledBack(self._answer)
        after = deliver(session, [Delivery(fresh, events.Committed(text), self._policy)], now=session.now())[0]
        if after is None:
            raise ClaimLost(f"the task {self._known.id} belongs to another run")
        self._renew(session)
        return self._answer, after

    def _owned(self, session: Session) -> TaskRecord:
        found = session.get([self._known.id])
        known = self._known
        if (
            not found
            or found[0].state is not TaskState.RUNNING
            or (found[0].fence, found[0].token) != (known.fence, known.token)
        ):
            raise ClaimLost(f"the task {known.id} belongs to another run")
        return found[0]
