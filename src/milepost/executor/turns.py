"""The loop of turns: gathers what runs hand in, carries it to the store, begins what was claimed, waits for more.

All state here belongs to trio's thread; a turn itself runs on the store's thread, on values.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import final

import attrs
import outcome
import trio

from milepost.clock import EPOCH
from milepost.crash import Crash
from milepost.errors import ClaimLost, StoreError
from milepost.executor.appetite import Appetite
from milepost.executor.config import ExecutorConfig
from milepost.executor.logbook import LogBook, carry_lines
from milepost.executor.outbox import Outbox, Parcel
from milepost.executor.run import Run
from milepost.executor.standing import Standing
from milepost.executor.store_health import StoreHealth
from milepost.executor.telling import Teller
from milepost.executor.turn import (
    Delivery,
    EffectRaised,
    TurnPlan,
    TurnReceipt,
    deliver_alone,
    take_turn,
)
from milepost.executor.workload import Workload
from milepost.lifecycle import events
from milepost.lifecycle.record import TaskId, TaskRecord
from milepost.lifecycle.transition import Policy
from milepost.registry import Registry
from milepost.stores.protocol import Held, Report, Store
from milepost.stores.tables import LogLine
from milepost.tasks import AnyTask, StopKind, Stopping
from milepost.telemetry import LeaseLost, Observer, ProgressCommitted

_log = logging.getLogger("milepost.executor")


@final
class Turns:
    """Takes turns until cancelled. `begin` is called with the runs of what a turn has claimed."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        config: ExecutorConfig,
        *,
        begin: Callable[[list[Run]], None],
        observer: Observer | None,
    ) -> None:
        self.outbox = Outbox(self.kick)
        self.reports: dict[TaskId, Report] = {}
        self.tell = Teller(observer)
        self.health = StoreHealth(self.tell)
        self.logs = LogBook(config.log_level, config.log_lines_max)
        self.workload = Workload(
            registry, self.outbox, threads=config.concurrency, tell=self.tell, observed=self.tell.is_heard
        )
        self.standing = Standing(store, registry, lambda: self.config, self.workload, noticed=self.kick)
        self.appetite = Appetite(config, self.workload)
        self.taken = self.claimed = self.ended = self.commits = self.refused = 0
        self._store = store
        self._registry = registry
        self._versions = registry.versions
        self._begin = begin
        self._kicked = trio.Event()
        self._in_flight = 0
        self._heard = False
        self._reconciled_at = self._cancels_from = -math.inf
        self._renew_from = EPOCH
        self.use(config)

    def use(self, config: ExecutorConfig) -> None:
        """Go on with these settings."""
        self.config = config
        self.policies = {
            name: attrs.evolve(task.policy, stalls_max=config.stalls_max) for name, task in self._registry.tasks.items()
        }
        self._has_limits = any(policy.has_limits for policy in self.policies.values())
        self.workload.set_threads(config.concurrency)
        self.appetite.use(config)
        self.logs.use(config.log_level, config.log_lines_max)
        self.kick()

    def policy_of(self, task: AnyTask) -> Policy:
        """What the transition needs of a task's definition."""
        return self.policies[task.name]

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a turn or is carried by one."""
        return not self._in_flight and not self.outbox

    def kick(self) -> None:
        """There is something to carry."""
        self._kicked.set()

    def look_again(self) -> None:
        """There may be something to claim, perhaps in a queue that was empty so far."""
        self.appetite.look_again()
        self.kick()

    def hear(self) -> None:
        """The store has told of something: there may be more to claim, or a run may be asked to end."""
        self._heard = True
        self.look_again()

    def give_up_runs(self) -> None:
        """The lease is gone: stop what runs, and begin again. Waits for no turn, which may be stuck in the store."""
        self.workload.lose_unfinished()
        self.standing.notice_loss()

    async def run(self) -> None:
        """Take turns for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wait_for_work()
                if self.standing.is_lost:
                    await self._begin_again()
                parcels = self.outbox.take()
                shared = [parcel for parcel in parcels if not parcel.goes_alone]
                for parcel in parcels:
                    if parcel.goes_alone:
                        self._in_flight += 1
                        nursery.start_soon(self._carry_alone, parcel, self.logs.take_of(parcel.run.id))
                plan = self._plan(shared)
                # A cancel must reach the runs of an executor that is full or drains, and claims nothing.
                if shared or plan.demand or plan.reports or plan.logs or plan.renew or plan.look_for_cancels:
                    self._in_flight += 1
                    await self._carry(plan, shared)
                    self._landed()

    # Carrying

    async def _carry(self, plan: TurnPlan, parcels: list[Parcel]) -> None:
        sent_at = time.monotonic()
        if plan.demand is not None:
            self.appetite.ask()
        try:
            # A power cut that undoes a claim ends its run as well; only what a run has handed in must survive one.
            receipt = await self._store.transact(partial(take_turn, plan=plan), durable=bool(parcels))
        except StoreError as error:
            self.outbox.put_back(parcels)
            self._keep(plan)
            self.appetite.look_again()
            self.doubt()
            await self.back_off(error, sent_at)
            self._pause_if_blocked(sent_at)
            return
        except Exception:
            _log.exception("a turn failed as a whole; its items are tried one by one")
            await carry_lines(self._store, plan.logs)
            await self._carry_one_by_one(plan, parcels)
            self.appetite.look_again()
            return
        self.taken += 1
        self.health.answered(sent_at)
        self._pause_if_blocked(sent_at)
        self._apply(plan, parcels, receipt, sent_at)

    async def _carry_one_by_one(self, plan: TurnPlan, parcels: Sequence[Parcel]) -> None:
        for index, parcel in enumerate(parcels):
            alone = [self._delivery(parcel)]
            single = attrs.evolve(plan, deliveries=alone, demand=None, reports=(), logs=(), renew=False, reconcile=None)
            sent_at = time.monotonic()
            try:
                receipt = await self._store.transact(partial(take_turn, plan=single))
            except StoreError as error:
                self.outbox.put_back(list(parcels[index:]))
                await self.back_off(error, sent_at)
                return
            except Exception as error:
                self._broken(parcel, error)
            else:
                self._written(parcel, receipt.written[0])
        self.doubt()

    async def _carry_alone(self, parcel: Parcel, lines: Sequence[LogLine]) -> None:
        """A result with effects has a transaction to itself: a statement that fails takes nobody else down."""
        carry = partial(
            deliver_alone,
            delivery=self._delivery(parcel),
            lines=lines,
            limited_queues=self.appetite.limited_queues,
            renew=self.standing.renew_if_due,
        )
        sent_at = time.monotonic()
        try:
            written = await self._store.transact(carry, alone=True, within_seconds=self.config.effect_seconds)
        except ClaimLost:
            self._written(parcel, None)
        except EffectRaised as raised:
            self.logs.put_back(lines)
            self._broken(parcel, raised.error)
        except StoreError as error:
            self.outbox.put_back([parcel])
            self.logs.put_back(lines)
            await self.back_off(error, sent_at)
        except Exception as error:
            self.logs.put_back(lines)
            self._broken(parcel, error)
        else:
            self._written(parcel, written)
        finally:
            self._landed()
            self.kick()

    def _keep(self, plan: TurnPlan) -> None:
        self.logs.put_back(plan.logs)
        for report in plan.reports:
            self.reports.setdefault(report.id, report)  # what was reported meanwhile is newer

    def _landed(self) -> None:
        self._in_flight -= 1
        self.workload.look_up()

    async def back_off(self, error: StoreError, sent_at: float) -> None:
        """The store refused what it was asked at `sent_at`; return when it is worth another try, soon enough to renew a
        lease that still holds."""
        await self.health.failed(error, sent_at, longest=self.config.lease_seconds / 6)

    def answered(self, sent_at: float, *, renewed: bool) -> None:
        """The store did what it was asked at `sent_at`; perhaps it renewed the lease on the way."""
        self.health.answered(sent_at)
        if renewed:
            self.standing.keeper.renewed(sent_at)

    def doubt(self) -> None:
        """Whether a claim was written is in doubt: compare notes with the store in the next turn."""
        self._reconciled_at = -math.inf

    def _plan(self, parcels: Sequence[Parcel]) -> TurnPlan:
        now = time.monotonic()
        reports, self.reports = self.reports, {}
        reconcile = now - self._reconciled_at > self.config.lease_seconds / 3
        if reconcile:
            self._reconciled_at = now
        return TurnPlan(
            executor=self.standing.executor,
            names=self._versions,
            policies=self.policies,
            has_limits=self._has_limits,
            deliveries=[self._delivery(parcel) for parcel in parcels],
            reports=tuple(reports.values()),
            logs=self.logs.take(),
            demand=self.appetite.demand(),
            may_be_suspect=not self.workload.has_fresh_suspect(),
            lease_seconds=self.config.lease_seconds,
            running=self.workload.active,
            renew=reconcile or self.standing.keeper.age_seconds > self.config.lease_seconds / 10,
            renew_from=self._renew_from,
            reconcile=frozenset(self.workload.runs) if reconcile else None,
            look_for_cancels=self._looks_for_cancels(now),
            limited_queues=self.appetite.limited_queues,
        )

    def _looks_for_cancels(self, now: float) -> bool:
        """When told of one, and once per poll: whoever asks for a cancel tells so, but a hint may be lost."""
        due, self._heard = self._heard or now >= self._cancels_from, False
        if not due or not self.workload.runs:
            return False
        self._cancels_from = now + self.config.poll_seconds
        return True

    def _delivery(self, parcel: Parcel) -> Delivery:
        run = parcel.run
        return Delivery(run.record, parcel.event, self.policies[run.task.name], parcel.effects, parcel.follow_ups)

    # What a turn gave

    def _apply(self, plan: TurnPlan, parcels: Sequence[Parcel], receipt: TurnReceipt, sent_at: float) -> None:
        for parcel, record in zip(parcels, receipt.written, strict=True):
            self._written(parcel, record)
        if not receipt.lease_alive:
            self.standing.notice_loss()
            return
        if receipt.renewed:
            self.standing.keeper.renewed(sent_at)
            self._renew_from = receipt.now + timedelta(seconds=self.config.lease_seconds / 2)
        if receipt.held is not None:
            self._compare(plan, receipt.held)
        for held in receipt.cancel_requests:
            run = self.workload.runs.get(held.id)
            if run is not None and run.record.fence == held.fence:
                run.stop(Stopping(StopKind.CANCELLED, held.cancel_reason or ""))
        for ended in receipt.ended:
            self.tell.ended(ended.before, ended.after, 0.0)
        self.tell.limited(receipt.limited)
        if receipt.catch is not None:
            self.appetite.learn(receipt.catch, receipt.now)
        if any(self.workload.is_running(record.id) for record in receipt.claimed):
            self.standing.notice_loss()  # only an executor whose lease is gone can take over from itself
        elif receipt.claimed:
            self.claimed += len(receipt.claimed)
            self._begin(self.workload.take(receipt.claimed, receipt.children, now=receipt.now))

    def _written(self, parcel: Parcel, record: TaskRecord | None) -> None:
        run = parcel.run
        if record is None:
            self.lose(run)
            parcel.lose()
        elif isinstance(parcel.event, events.Committed):
            self.committed(run, record)
            parcel.resolve(outcome.Value(None))
        else:
            before, run.record = run.record, record
            self.ended += 1
            self.workload.forget(run)
            # It may be due again, or have kept its queue at the queue's own limit, which the last claim could not pass.
            if record.due_at is not None or self.config.queues is not None:
                self.look_again()
            if self.tell.is_heard:
                self.tell.ended(before, record, trio.current_time() - run.started_at)

    def committed(self, run: Run, record: TaskRecord) -> None:
        """A commit of `run` is durable."""
        run.record = record
        self.commits += 1
        if self.tell.is_heard:
            self.tell(ProgressCommitted(record.id, record.name, record.sequence))

    def lose(self, run: Run) -> None:
        """The store refused a write of `run`: the claim is gone."""
        self.refused += 1
        self.workload.lose(run)

    def _broken(self, parcel: Parcel, error: Exception) -> None:
        """What was handed in cannot be written whatever happens: the attempt crashed, and that can be written."""
        run = parcel.run
        if isinstance(parcel.event, events.Committed):
            parcel.resolve(outcome.Error(error))
        elif isinstance(parcel.event, events.Crashed) and not parcel.event.retryable and not parcel.effects:
            _log.error("the end of task %s cannot be stored; it is given back", run.id, exc_info=error)
            self.workload.lose(run)
            self.doubt()
        else:
            # What fails for a crash too may lie in the policy: without its say the crash is final.
            retryable = not isinstance(parcel.event, events.Crashed) and run.task.retry.covers_exception(error)
            self.outbox.put(Parcel(run, events.Crashed(Crash.of(error, hide=run.hide), retryable=retryable)))

    def _compare(self, plan: TurnPlan, held: Sequence[Held]) -> None:
        """Runs that the store no longer counts as ours are lost; of those being stored, the answer will tell."""
        ours = {(each.id, each.fence) for each in held}
        for id in plan.reconcile or ():
            run = self.workload.runs.get(id)
            if run is not None and not run.ending and (id, run.record.fence) not in ours:
                self.workload.lose(run)

    # When to take the next turn

    async def _wait_for_work(self) -> None:
        if self.outbox or self.appetite.wants_more:
            # What was just begun runs first: a turn then carries more, and threads do not fight for Python's lock.
            await trio.lowlevel.checkpoint()
            return
        poll = trio.current_time() + self.config.poll_seconds * random.uniform(0.8, 1.2)
        with trio.move_on_at(min(self.appetite.next_due, poll)) as waiting:
            await self._kicked.wait()
        self._kicked = trio.Event()
        if waiting.cancelled_caught:
            self.hear()
            self.appetite.next_due = math.inf

    def _pause_if_blocked(self, sent_at: float) -> None:
        # Whoever was blocked for long could not renew, and neither could the others: their leases look expired though
        # they live. One more poll gives them the time to renew.
        if time.monotonic() - sent_at > self.config.lease_seconds / 3:
            self.appetite.pause()

    async def _begin_again(self) -> None:
        """The lease ran out or is gone: drop every run, and go on under a new id, which owns nothing."""
        self.workload.lose_unfinished()
        before = self.standing.executor
        while self.standing.executor == before or self.standing.is_lost:
            sent_at = time.monotonic()
            try:
                await self.standing.begin_again()
            except StoreError as error:
                await self.back_off(error, sent_at)
            else:
                self.health.answered(sent_at)
        self.appetite.pause()
        self.tell(LeaseLost(before, self.standing.executor))
