"""The loop around the turn: gathers what runs hand in, carries it to the store, and begins what was claimed.

All state here belongs to trio's thread. The turn itself runs on the store's thread, on values.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast, final

import attrs
import outcome
import trio
from returns.result import Result

from milepost.crash import Crash
from milepost.effects import Transaction
from milepost.errors import ClaimLost, StoreError
from milepost.executor.commits import RolledBack, Together
from milepost.executor.config import ExecutorConfig
from milepost.executor.lease import LeaseKeeper
from milepost.executor.outbox import Outbox, Parcel
from milepost.executor.run import Run
from milepost.executor.statistics import ExecutorStatistics
from milepost.executor.store_health import StoreHealth
from milepost.executor.turn import (
    Delivery,
    Demand,
    TurnPlan,
    TurnReceipt,
    change_lease,
    deliver_with_effects,
    release_all,
    renew,
    take_turn,
)
from milepost.executor.workload import Workload
from milepost.ids import new_id
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskRecord
from milepost.lifecycle.transition import Policy
from milepost.payload import JsonText
from milepost.registry import Registry
from milepost.stores.protocol import Held, Hint, Report, Session, Store
from milepost.tasks import StopKind, Stopping
from milepost.telemetry import (
    AttemptEnded,
    ExecutorStarted,
    ExecutorStopped,
    LeaseLost,
    LoopStalled,
    Observation,
    Observer,
    ProgressCommitted,
)

T = TypeVar("T")
E = TypeVar("E")

_log = logging.getLogger("milepost.executor")


@final
class Engine:
    """One executor at work. `run` is its life; everything else asks something of it."""

    def __init__(self, store: Store, registry: Registry, config: ExecutorConfig, observer: Observer | None) -> None:
        self.executor = new_id()
        self.config = config
        self._store = store
        self._registry = registry
        self._observer = observer
        self._policies = _policies(registry, config)
        self._outbox = Outbox(self._kick)
        self._health = StoreHealth(self.tell)
        self._workload = Workload(
            registry,
            self._outbox,
            committer=self,
            threads=config.concurrency,
            cleanup_seconds=lambda: self.config.cleanup_seconds,
            tell=self.tell,
            observed=observer is not None,
        )
        self._reports: dict[str, Report] = {}
        self._kicked = trio.Event()
        self._drain_asked = trio.Event()
        self._interrupt_asked = trio.Event()
        self.stopped = trio.Event()
        self._claiming = True
        self._claim_after = 0.0
        self._look = True
        self._next_due = 0.0
        self._reconciled_at = 0.0
        self._lease_gone = False
        self._in_flight = 0
        self._turns = self._claimed = self._ended = self._commits = self._refused = 0

    # The engine's life

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold a lease and take turns until asked to stop; then wind down. Raises StoreError if it cannot begin."""
        with trio.CancelScope(shield=True):  # what is outside must not cut the winding down; it asks, by `interrupt`
            opening = partial(self._change_lease, None)
            await self._store.transact(opening)
            self._keeper = LeaseKeeper(
                self._renew_blocking,
                lease_seconds=self.config.lease_seconds,
                stall_seconds=self.config.stall_seconds,
                lost=self._notice_lost_lease,
            )
            self._keeper.start()
            try:
                async with trio.open_nursery() as self._system:
                    for loop in (self._take_turns, self._listen, self._keep_house):
                        self._system.start_soon(loop)
                    self.tell(ExecutorStarted(self.executor))
                    task_status.started()
                    async with trio.open_nursery() as self._bodies:
                        await self._drain_asked.wait()
                        await self._wind_down()
                    self._system.cancel_scope.cancel()
            finally:
                self._keeper.close()
                await trio.to_thread.run_sync(self._keeper.join)
                self.stopped.set()

    def drain(self) -> None:
        """Stop claiming, let runs finish for `drain_seconds`, then interrupt them."""
        self._claiming = False
        self._drain_asked.set()
        self._kick()

    def interrupt(self) -> None:
        """Stop without letting runs finish: they are asked to stop at once."""
        self._interrupt_asked.set()
        self.drain()

    def reconfigure(self, config: ExecutorConfig) -> None:
        """Go on with other settings from the next turn on; what runs is not disturbed."""
        self.config = config
        self._policies = _policies(self._registry, config)
        self._workload.set_threads(config.concurrency)
        self._look_again()

    def statistics(self) -> ExecutorStatistics:
        """A frozen look."""
        return ExecutorStatistics(
            executor=self.executor,
            running=self._workload.active,
            claimed=self._claimed,
            ended=self._ended,
            commits=self._commits,
            discarded=self._workload.discarded,
            refused=self._refused,
            turns=self._turns,
            store=self._health.condition,
        )

    def tell(self, observation: Observation) -> None:
        """Tell the observer; what it raises is logged and goes no further."""
        if self._observer is None:
            return
        try:
            self._observer(observation)
        except Exception:
            _log.exception("the observer raised on %r", observation)

    async def _wind_down(self) -> None:
        workload = self._workload
        with trio.move_on_after(self.config.drain_seconds):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(self._interrupt_asked.wait)
                await workload.wait_for(lambda: workload.active == 0)
                waiting.cancel_scope.cancel()
        workload.stop_all(Stopping(StopKind.SHUTDOWN))
        # Twice the limit: the clean-up of the runs, which `hurry` ends, and the storing of what they became.
        with trio.move_on_after(2 * self.config.cleanup_seconds + 1):
            await workload.wait_for(lambda: not workload.runs)
        self._kick()
        with trio.move_on_after(self.config.cleanup_seconds + 1):
            await workload.wait_for(lambda: not self._in_flight and not self._outbox)
        await self._give_back()

    async def _give_back(self) -> None:
        with trio.move_on_after(self.config.cleanup_seconds + 1):
            try:
                released = await self._store.transact(lambda session: release_all(session, self.executor))
                self.tell(ExecutorStopped(self.executor, released))
            except StoreError as error:
                _log.warning("could not give the lease back (%s): the others wait until it runs out", error)

    # What runs ask

    async def commit(self, run: Run, execution_metadata: JsonText) -> None:
        """Return once the execution metadata is durable."""
        async with run.lock:
            await self._outbox.put_and_wait(Parcel(run, events.Committed(execution_metadata)))

    async def commit_with(
        self, run: Run, effect: Callable[[Transaction], tuple[Result[T, E], JsonText | None]]
    ) -> Result[T, E]:
        """Run the effect and commit in one transaction of its own."""
        async with run.lock:
            together = Together(run.record, effect, self._policies[run.task.name], self._renew)
            while True:
                sent_at = time.monotonic()
                try:
                    answer, after = await self._store.transact(
                        together, alone=True, within_seconds=self.config.effect_seconds
                    )
                except RolledBack as rolled_back:
                    return cast("Result[T, E]", rolled_back.answer)
                except ClaimLost:
                    self._refused += 1
                    self._workload.lose(run)
                    raise
                except StoreError as error:
                    # The store is away: keep the run, as long as the lease rule keeps it, and try the same again.
                    await self._health.failed(error, longest=self.config.lease_seconds / 6)
                    continue
                self._health.answered()
                self._keeper.renewed(sent_at)
                self._committed(run, after)
                return answer

    def report(self, run: Run, fraction: float, note: str) -> None:
        """Keep human progress for the next turn; the newest of a run replaces the one before."""
        if run.record.token is not None:
            self._reports[run.id] = Report(run.id, run.record.token, fraction, note)

    # The turn

    async def _take_turns(self) -> None:
        while True:
            await self._wait_for_work()
            if self._lease_gone or self._keeper.is_overdue:
                await self._begin_again()
            parcels = self._outbox.take()
            for parcel in [each for each in parcels if each.effects]:
                self._in_flight += 1
                self._system.start_soon(self._carry_alone, parcel)
            shared = [each for each in parcels if not each.effects]
            plan = self._plan(shared)
            if shared or plan.demand or plan.reports or plan.renew:
                self._in_flight += 1
                await self._carry(plan, shared)
                self._landed()

    async def _carry(self, plan: TurnPlan, parcels: list[Parcel]) -> None:
        sent_at = time.monotonic()
        try:
            receipt = await self._store.transact(partial(take_turn, plan=plan))
        except StoreError as error:
            self._outbox.put_back(parcels)
            self._reconciled_at = -1.0  # whether a claim was written is in doubt: compare notes at once
            await self._health.failed(error, longest=self.config.lease_seconds / 6)
            self._pause_claims_if_blocked(sent_at)
            return
        except Exception:
            _log.exception("a turn failed as a whole; its items are tried one by one")
            await self._carry_one_by_one(parcels)
            return
        self._turns += 1
        self._health.answered()
        self._pause_claims_if_blocked(sent_at)
        self._apply(plan, parcels, receipt, sent_at)

    def _landed(self) -> None:
        self._in_flight -= 1
        self._workload.look_up()

    async def _carry_one_by_one(self, parcels: Sequence[Parcel]) -> None:
        for index, parcel in enumerate(parcels):
            plan = attrs.evolve(self._plan([parcel]), demand=None, reports=(), renew=False, reconcile=None)
            try:
                receipt = await self._store.transact(partial(take_turn, plan=plan))
            except StoreError as error:
                self._outbox.put_back(list(parcels[index:]))
                await self._health.failed(error)
                return
            except Exception as error:
                self._broken(parcel, error)
                continue
            self._written(parcel, receipt.written[0])

    async def _carry_alone(self, parcel: Parcel) -> None:
        """A result with effects has a transaction to itself: a statement that fails takes nobody else down."""

        def carry(session: Session) -> TaskRecord:
            after = deliver_with_effects(session, self._delivery(parcel))
            self._renew(session)
            return after

        try:
            written = await self._store.transact(carry, alone=True, within_seconds=self.config.effect_seconds)
        except ClaimLost:
            self._written(parcel, None)
        except StoreError as error:
            self._outbox.put_back([parcel])
            await self._health.failed(error, longest=self.config.lease_seconds / 6)
        except Exception as error:
            self._broken(parcel, error)
        else:
            self._written(parcel, written)
        finally:
            self._landed()
            self._kick()

    def _plan(self, parcels: Sequence[Parcel]) -> TurnPlan:
        now = time.monotonic()
        reports, self._reports = self._reports, {}
        reconcile = now - self._reconciled_at > self.config.lease_seconds / 3
        if reconcile:
            self._reconciled_at = now
        return TurnPlan(
            executor=self.executor,
            names=self._registry.versions,
            policies=self._policies,
            deliveries=[self._delivery(parcel) for parcel in parcels],
            reports=tuple(reports.values()),
            demand=self._demand(),
            lease_seconds=self.config.lease_seconds,
            renew=reconcile or self._keeper.age_seconds > self.config.lease_seconds / 10,
            reconcile=frozenset(self._workload.runs) if reconcile else None,
        )

    def _delivery(self, parcel: Parcel) -> Delivery:
        return Delivery(parcel.run.record, parcel.event, self._policies[parcel.run.task.name], parcel.effects)

    def _demand(self) -> Demand | None:
        free = self.config.concurrency - self._workload.active
        if free <= 0 or not self._look or not self._claiming or time.monotonic() < self._claim_after:
            return None
        if self.config.queues is None:
            return Demand(free, None, self._turns)
        busy = self._workload.busy
        open_queues = {queue: limit - busy[queue] for queue, limit in self.config.queues.items() if limit > busy[queue]}
        return Demand(free, open_queues, self._turns) if open_queues else None

    # What a turn gave

    def _apply(self, plan: TurnPlan, parcels: Sequence[Parcel], receipt: TurnReceipt, sent_at: float) -> None:
        for parcel, record in zip(parcels, receipt.written, strict=True):
            self._written(parcel, record)
        if not receipt.lease_alive:
            self._notice_lost_lease()
            return
        if plan.renew:
            self._keeper.renewed(sent_at)
        if receipt.held is not None:
            self._compare(plan, receipt.held)
        for held in receipt.cancel_requests:
            run = self._workload.runs.get(held.id)
            if run is not None and run.record.fence == held.fence:
                run.stop(Stopping(StopKind.CANCELLED, held.cancel_reason or ""))
        for ended in receipt.ended:
            self._tell_ended(ended.before.attempt, ended.after, 0.0)
        if plan.demand is not None:
            taken = len(receipt.claimed) + len(receipt.ended)
            self._look = taken >= plan.demand.limit
            if receipt.next_due is not None:
                self._fall_due_in((receipt.next_due - receipt.now).total_seconds())
        self._claimed += len(receipt.claimed)
        self._workload.begin(receipt.claimed, self._bodies, now=receipt.now)

    def _written(self, parcel: Parcel, record: TaskRecord | None) -> None:
        run = parcel.run
        if record is None:
            self._refused += 1
            self._workload.lose(run)
            parcel.lose()
            return
        if isinstance(parcel.event, events.Committed):
            self._committed(run, record)
            parcel.resolve(outcome.Value(None))
            return
        attempt, run.record = run.record.attempt, record
        self._ended += 1
        self._workload.forget(run)
        if record.due_at is not None:
            self._look_again()
        self._tell_ended(attempt, record, trio.current_time() - run.started_at)

    def _committed(self, run: Run, record: TaskRecord) -> None:
        run.record = record
        self._commits += 1
        self.tell(ProgressCommitted(record.id, record.name, record.sequence))

    def _broken(self, parcel: Parcel, error: Exception) -> None:
        """What was handed in cannot be written whatever happens: the attempt crashed, and that can be written."""
        run = parcel.run
        if isinstance(parcel.event, events.Committed):
            parcel.resolve(outcome.Error(error))
        elif isinstance(parcel.event, events.Crashed) and not parcel.effects:
            _log.error("the end of task %s cannot be stored; it is given back", run.id, exc_info=error)
            self._workload.lose(run)
            self._reconciled_at = -1.0
        else:
            crashed = events.Crashed(Crash.of(error), retryable=run.task.retry.covers_exception(error))
            self._outbox.put(Parcel(run, crashed))

    def _compare(self, plan: TurnPlan, held: Sequence[Held]) -> None:
        """Runs that the store no longer counts as ours are lost; those that are being stored will be told otherwise."""
        ours = {(each.id, each.fence) for each in held}
        for id in plan.reconcile or ():
            run = self._workload.runs.get(id)
            if run is not None and not run.ending and (id, run.record.fence) not in ours:
                self._workload.lose(run)

    def _tell_ended(self, attempt: int, record: TaskRecord, seconds: float) -> None:
        if self._observer is not None:
            reason = record.crash.message if record.crash is not None else ""
            ended = AttemptEnded(record.id, record.name, attempt, record.state, seconds, record.due_at, reason)
            self.tell(ended)

    # When to take the next turn

    async def _wait_for_work(self) -> None:
        free = self._workload.active < self.config.concurrency
        if self._outbox or (self._look and free and self._claiming and time.monotonic() >= self._claim_after):
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_at(min(self._next_due, self._next_poll())) as waiting:
            await self._kicked.wait()
        self._kicked = trio.Event()
        if waiting.cancelled_caught:
            self._look = True
            self._next_due = float("inf")

    def _next_poll(self) -> float:
        return trio.current_time() + self.config.poll_seconds * random.uniform(0.8, 1.2)

    def _fall_due_in(self, seconds: float) -> None:
        # A hair later: a timer that fires a moment early would find nothing and wait for the next poll.
        self._next_due = trio.current_time() + max(0.0, seconds) + 0.001

    def _kick(self) -> None:
        self._kicked.set()

    def _look_again(self) -> None:
        self._look = True
        self._kick()

    def _pause_claims_if_blocked(self, sent_at: float) -> None:
        # Whoever was blocked for long could not renew, and neither could the others: their leases look expired though
        # they live. One more poll gives them the time to renew.
        if time.monotonic() - sent_at > self.config.lease_seconds / 3:
            self._claim_after = time.monotonic() + self.config.poll_seconds

    async def _listen(self) -> None:
        watch = self._store.watch(Hint.DUE | Hint.CANCEL)
        try:
            while True:
                if await watch.wait(60):
                    self._look_again()
        finally:
            watch.close()

    # The lease

    def _change_lease(self, before: str | None, session: Session) -> None:
        change_lease(
            session, before, self.executor, self.config.lease_seconds, host=socket.gethostname(), pid=os.getpid()
        )

    def _renew(self, session: Session) -> bool:
        return renew(session, self.executor, self.config.lease_seconds, now=session.now())

    def _renew_blocking(self) -> bool:
        return self._store.transact_blocking(self._renew)

    def _notice_lost_lease(self) -> None:
        self._lease_gone = True
        self._kick()

    async def _begin_again(self) -> None:
        """The lease ran out or is gone: drop every run, and go on under a new id, which owns nothing."""
        before = self.executor
        for run in list(self._workload.runs.values()):
            self._workload.lose(run)
        self.executor = new_id()
        while True:
            sent_at = time.monotonic()
            try:
                await self._store.transact(partial(self._change_lease, before))
                break
            except StoreError as error:
                await self._health.failed(error)
        self._health.answered()
        self._lease_gone = False
        self._keeper.begin_again(sent_at)
        self._claim_after = time.monotonic() + self.config.poll_seconds
        self.tell(LeaseLost(before, self.executor))

    async def _keep_house(self) -> None:
        """See to limits of time: clean-ups that take too long, a lease that ran out, a loop that stood still."""
        period = max(0.005, min(0.25, self.config.lease_seconds / 20, self.config.cleanup_seconds / 4 + 0.005))
        while True:
            await trio.sleep(period)
            self._workload.hurry()
            if self._keeper.is_overdue or self._reports:
                self._kick()
            stalled = self._keeper.take_stall()
            if stalled is not None:
                self.tell(LoopStalled(self.executor, stalled))


def _policies(registry: Registry, config: ExecutorConfig) -> dict[str, Policy]:
    return {name: attrs.evolve(task.policy, stalls_max=config.stalls_max) for name, task in registry.tasks.items()}
