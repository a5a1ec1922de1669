"""A year of fifty schedules in six zones whose clocks change, fired by three executors that come and go: each instant
once, by its misfire policy, and the same on every store. The clock waits for nobody."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import trio

from milepost import (
    SUNDAY,
    WEDNESDAY,
    Misfire,
    Overlap,
    Schedule,
    Store,
    cron,
    daily,
    every,
    monthly,
    open_store,
    weekly,
)
from milepost.schedules.when import When
from milepost.schedules.zones import next_change
from milepost.stores.firing import fire_due
from milepost.stores.protocol import Session
from tests.database import store_url
from tests.executor.scheduled import REQUEST, AnySchedule, put, row_of, tasks_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

START, END = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
ZONES = (
    "Europe/Rome",
    "America/New_York",
    "America/Santiago",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
)
EXECUTORS = 3
MICROSECOND, SECOND, MINUTE = datetime.resolution, timedelta(seconds=1), timedelta(minutes=1)


def changes_of(zone: str) -> Iterator[datetime]:
    """When the clocks of the zone change in this year."""
    change = next_change(ZoneInfo(zone), START, END)
    while change is not None:
        yield change
        change = next_change(ZoneInfo(zone), change, END)


def schedules() -> list[AnySchedule]:
    """Eight for each zone, most of them at times that its changes leave out or repeat, and two more."""
    made: list[AnySchedule] = []

    def add(key: str, when: When, misfire: Misfire = Misfire.ALL) -> None:
        made.append(Schedule(key, REQUEST, when, misfire=misfire, overlap=Overlap.ALLOW))

    for zone in ZONES:
        nightly = daily() if zone in ZONES[:2] else weekly().on(SUNDAY, WEDNESDAY)
        add(f"{zone} nightly", nightly.at("02:30").in_timezone(zone))
        add(f"{zone} monthly", monthly().on_last_day().at("00:30").in_timezone(zone))
        add(f"{zone} cron", cron("0 0,2,3 * * SUN", timezone=zone))
        for misfire in Misfire:
            add(f"{zone} weekly {misfire.name}", weekly().on(SUNDAY).at("02:15").in_timezone(zone), misfire)
        first, second = changes_of(zone)
        for change in (first, second):
            day = change.astimezone(ZoneInfo(zone))
            add(f"{zone} each hour of {day:%b %d}", cron(f"30 * {day.day} {day.month} *", timezone=zone))
    add("every 100 hours", every(timedelta(hours=100), starting=START))
    add("each quarter", cron("0 0 1 */3 *"))
    return made


class Fleet:
    """When which executor is there. Each comes and goes, and now and then all of them are away for hours."""

    def __init__(self, dice: random.Random) -> None:
        self._away = [list(self._pauses(dice, each_days=25, hours=70)) for _ in range(EXECUTORS)]
        together = list(self._pauses(dice, each_days=14, hours=20))
        for away in self._away:
            away += together

    def present(self, moment: datetime) -> list[int]:
        """Who is there."""
        return [n for n, away in enumerate(self._away) if not any(a <= moment < b for a, b in away)]

    def next_present(self, moment: datetime) -> datetime:
        """The first moment from now on at which somebody is there."""
        while not self.present(moment):
            moment = min(b for away in self._away for a, b in away if a <= moment < b)
        return moment

    @staticmethod
    def _pauses(dice: random.Random, *, each_days: float, hours: float) -> Iterator[tuple[datetime, datetime]]:
        moment = START
        while True:
            moment += timedelta(days=dice.expovariate(1 / each_days))
            if moment > END:
                return
            back = moment + timedelta(hours=dice.uniform(0, hours))
            yield moment, back
            moment = back


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[list[Store]]:
    """One for each executor, to the same database."""
    url = store_url(request.param, request, tmp_path)
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_store(url)) for _ in range(1 if url == "memory:" else EXECUTORS)]
        yield opened if len(opened) > 1 else opened * EXECUTORS


async def test_each_instant_of_a_year_fires_once(stores: list[Store]) -> None:
    dice = random.Random(20_270_328)
    wanted = schedules()
    assert len(wanted) == 50
    await put(stores[0], START, *wanted)
    looks = await year(stores, Fleet(dice), dice)
    enqueued = left_out = 0
    for schedule in wanted:
        fired, skipped = expected(schedule, looks)
        tasks = await tasks_of(stores[0], schedule.key)
        assert [record.schedule_at for record in tasks] == fired, schedule.key
        state = (await row_of(stores[0], schedule.key)).state
        assert (state.runs, state.skipped) == (len(fired), skipped), schedule.key
        if schedule.misfire is Misfire.ALL:
            assert fired == list(schedule.when.between(START + MICROSECOND, looks[-1] + MICROSECOND))
        enqueued, left_out = enqueued + len(fired), left_out + skipped
    assert enqueued > 2_500
    assert left_out > 10, "hardly anything was missed"


async def year(stores: list[Store], fleet: Fleet, dice: random.Random) -> list[datetime]:
    """Have the year pass; gives the moments at which somebody looked, and was not killed meanwhile."""
    looks: list[datetime] = []
    now = START
    while True:
        due_at = await stores[0].read(lambda session: session.schedules.next_due())
        assert due_at is not None
        now = fleet.next_present(max(now, due_at) + dice.choice([0, 0, 0, 1, 50]) * SECOND)
        if now >= END:
            return looks
        present = fleet.present(now)
        if dice.random() < 0.05:
            await killed(stores[dice.choice(present)], now)
            continue
        lookers = min(len(present), dice.choice([1, 1, 2, 3]))
        await together([stores[n] for n in dice.sample(present, lookers)], now)
        looks.append(now)


async def together(stores: list[Store], now: datetime) -> None:
    """These look at the same time."""

    async def look(store: Store) -> None:
        await store.transact(lambda session: fire_due(session, now=now), durable=False)

    async with trio.open_nursery() as nursery:
        for store in stores:
            nursery.start_soon(look, store)


async def killed(store: Store, now: datetime) -> None:
    """Somebody looks, and is killed before the commit."""

    def fires_in_vain(session: Session) -> None:
        assert fire_due(session, now=now)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.transact(fires_in_vain, alone=True)


def expected(schedule: AnySchedule, looks: list[datetime]) -> tuple[list[datetime], int]:
    """Which instants fire, and how many are skipped, if somebody looks at these moments."""
    instants = deque(schedule.when.between(START + MICROSECOND, END))
    fired: list[datetime] = []
    skipped = 0
    for now in looks:
        due: list[datetime] = []
        while instants and instants[0] <= now:
            due.append(instants.popleft())
        on_time = [each for each in due if now - each <= MINUTE]
        fires = {Misfire.ALL: due, Misfire.SKIP: on_time, Misfire.ONE: on_time or due[-1:]}[schedule.misfire]
        fired += fires
        skipped += len(due) - len(fires)
    return fired, skipped
