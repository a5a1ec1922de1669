"""What runs have to hand in, until a turn carries it: finished results and commits that somebody waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, final

import outcome
import trio
from attrs import define

from milepost.effects import Statement
from milepost.errors import ClaimLost
from milepost.executor.follow_ups import may_be_refused
from milepost.executor.run import Run
from milepost.lifecycle.draft import Draft
from milepost.lifecycle.events import Event


@final
@define(eq=False)
class Parcel:
    """One thing handed in. `taken` while a turn carries it; `waiter` is the task that waits for its receipt."""

    run: Run
    event: Event
    effects: tuple[Statement, ...] = ()
    follow_ups: tuple[Draft, ...] = ()
    waiter: trio.lowlevel.Task | None = None
    taken: bool = False
    raise_cancel: Callable[[], NoReturn] | None = None

    @property
    def goes_alone(self) -> bool:
        """Whether it may be refused for what it carries, which must take nobody else's turn down."""
        if not self.follow_ups:  # as nearly always
            return bool(self.effects)
        return bool(self.effects) or any(may_be_refused(draft, self.run.record) for draft in self.follow_ups)

    def resolve(self, answer: outcome.Outcome[None]) -> None:
        """Wake the waiter with the parcel's fate."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            trio.lowlevel.reschedule(waiter, answer)

    def lose(self) -> None:
        """The claim is gone: nothing of the parcel was written."""
        self.resolve(outcome.Error(ClaimLost(f"the task {self.run.id} belongs to another run")))


@final
class Outbox:
    """Parcels in the order in which they were handed in."""

    def __init__(self, kick: Callable[[], None]) -> None:
        self._parcels: list[Parcel] = []
        self._kick = kick

    def __len__(self) -> int:
        return len(self._parcels)

    def put(self, parcel: Parcel) -> None:
        """Hand in a parcel that nobody waits for."""
        if not self._parcels:
            self._kick()
        self._parcels.append(parcel)

    async def put_and_wait(self, parcel: Parcel) -> None:
        """Hand in a parcel and return once it is durable; raises `ClaimLost` when it never will be.

        A parcel that no turn has taken yet can be cancelled; one that a turn carries reports what really happened.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if parcel.run.lost or parcel.run.ending:  # perhaps no turn comes any more that would refuse it
            raise ClaimLost(f"the task {parcel.run.id} belongs to another run, or this run has ended")
        parcel.waiter = trio.lowlevel.current_task()

        def abort(raise_cancel: Any) -> trio.lowlevel.Abort:
            if parcel.taken:
                parcel.raise_cancel = raise_cancel
                return trio.lowlevel.Abort.FAILED
            self._parcels.remove(parcel)
            return trio.lowlevel.Abort.SUCCEEDED

        self.put(parcel)
        await trio.lowlevel.wait_task_rescheduled(abort)

    def take(self) -> list[Parcel]:
        """Everything that waits, for one turn."""
        taken, self._parcels = self._parcels, []
        for parcel in taken:
            parcel.taken = True
        return taken

    def put_back(self, parcels: list[Parcel]) -> None:
        """A turn could not be written: its parcels go first again, but for those that nobody wants any more."""
        for parcel in parcels:
            parcel.taken = False
            if parcel.raise_cancel is not None:
                parcel.resolve(outcome.capture(parcel.raise_cancel))
            elif parcel.run.lost:
                parcel.lose()
        self._parcels[:0] = [each for each in parcels if each.raise_cancel is None and not each.run.lost]

    def drop(self, run: Run) -> None:
        """Forget what a lost run has handed in."""
        for parcel in [each for each in self._parcels if each.run is run]:
            self._parcels.remove(parcel)
            parcel.lose()
