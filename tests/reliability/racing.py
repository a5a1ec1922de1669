"""Two callers race for one task, each with a store of its own, in an order that is forced and not left to chance.

The first is stopped at a point of its transaction. Then the second begins, and goes as far as it gets: to its end, or
to where the database makes it wait. Only then does the first go on. Nobody sleeps, and nothing depends on how long
something takes.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import Enum
from itertools import count
from typing import Any, Protocol, TypeAlias, TypeVar, Unpack, cast, final

import psycopg
import pytest
from attrs import frozen

from milepost.errors import StoreBusy
from milepost.stores.open import connect_store
from milepost.stores.protocol import Session, Store, TransactOptions
from milepost.stores.sqlite.patience import Patience
from tests.executor.kit import PassingStore

T = TypeVar("T")

Verb: TypeAlias = Callable[..., str]
"""Does something over a store, and says in a few words what came of it."""

PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.002
_WRITES = frozenset({"insert", "insert_unbounded", "write", "delete", "renew", "put", "remove", "lock"})
_TABLES = frozenset({"settings", "limits", "logs", "ends", "joins", "events", "schedules"})
_BLOCKED = """select exists (
  select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()
)"""


class Point(Enum):
    """Where the first of two callers is stopped."""

    WRITE = "when it has read and is about to write"
    COMMIT = "when it has written and is about to commit"
    BETWEEN = "between the transactions in which it reads and the one in which it writes"


@final
@frozen
class Call:
    """What one side is to do."""

    verb: Verb
    args: tuple[Any, ...]


@final
@frozen
class Finish:
    """What came of a race: both answers, and whether the second had to wait for the first."""

    first: str
    second: str
    waited: bool


class Mailbox(Protocol):
    """A queue between threads, or one between processes."""

    def put(self, obj: Any, /) -> None: ...

    def get(self, block: bool = True, timeout: float | None = None, /) -> Any: ...


@final
class HeldSession:
    """A session whose first write calls `before_write`; `wrote` says whether there was one."""

    def __init__(self, inner: Any, before_write: Callable[[], None]) -> None:
        self._inner = inner
        self._before_write = before_write
        self.wrote = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name in _TABLES:
            return HeldSession(value, self._write)
        if name in _WRITES:
            self._write()
        elif name == "claim":  # reads and writes in one
            self.wrote = True
        return value

    def _write(self) -> None:
        if not self.wrote:
            self.wrote = True
            self._before_write()


@final
class HeldStore(PassingStore):
    """A store whose first transaction that comes to `point` stops there, until `hold` returns."""

    def __init__(self, inner: Store, point: Point | None, hold: Callable[[], None]) -> None:
        super().__init__(inner)
        self._point = point
        self._hold = hold
        self._has_read = False

    def transact_blocking(self, function: Callable[[Session], T], **options: Unpack[TransactOptions]) -> T:
        def held(session: Session) -> T:
            watched = HeldSession(session, lambda: self._stop_at(Point.WRITE))
            value = function(cast("Session", watched))
            if watched.wrote:
                self._stop_at(Point.COMMIT)
            return value

        if self._has_read:
            self._stop_at(Point.BETWEEN)
        return super().transact_blocking(held, **options)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        self._has_read = True
        return super().read_blocking(function)

    def _stop_at(self, point: Point) -> None:
        if point is self._point:
            self._point = None
            self._hold()


@final
class Side:
    """One caller's thread or process: takes calls from `orders`, tells of them in `news`."""

    def __init__(self, url: str, orders: Mailbox, news: Mailbox) -> None:
        self._url = url
        self._orders = orders
        self._news = news

    def run(self) -> None:
        """Answer calls until told to stop."""
        store = connect_store(self._url)
        try:
            while (order := self._orders.get()) is not None:
                number, call, point = order
                try:
                    answer = call.verb(HeldStore(store, point, lambda: self._hold(number)), *call.args)  # noqa: B023
                except Exception as error:
                    answer = f"raised {error!r}"
                self._news.put((number, "answer", answer))
        finally:
            store.close()

    def run_in_process(self) -> None:
        """`run`, telling as well when SQLite's file was found locked."""
        with noting_busy_files(lambda: self._news.put((None, "waits", ""))):
            self.run()

    def _hold(self, number: int) -> None:
        self._news.put((number, "holds", ""))
        assert self._orders.get() == "go"


@contextmanager
def noting_busy_files(note: Callable[[], None]) -> Generator[None]:
    """Call `note` whenever a SQLite file is found locked."""
    original = Patience.insist

    def insist(self: Patience, attempt: Callable[[], T]) -> T:
        def noted() -> T:
            try:
                return attempt()
            except StoreBusy:
                note()
                raise

        return original(self, noted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Patience, "insist", insist)
        yield


@final
class Track:
    """Where two sides race."""

    def __init__(self, url: str, orders: tuple[Mailbox, Mailbox], news: Mailbox) -> None:
        self._orders = orders
        self._news = news
        self._numbers = count(1)
        self._server = psycopg.connect(url, autocommit=True) if url.startswith("postgres") else None

    def close(self) -> None:
        """Let the sides end."""
        for orders in self._orders:
            orders.put(None)
        if self._server is not None:
            self._server.close()

    def race(self, first: Call, second: Call, point: Point) -> Finish:
        """Stop `first` at `point`, let `second` go as far as it gets, and let `first` go on."""
        number = next(self._numbers)
        self._orders[0].put((number, first, point))
        kind, said = self._next(number)
        assert kind == "holds", f"the first side never came to the point {point.value}: {kind} {said}"
        return self._against_the_first(number, second)

    def one_after_the_other(self, first: Call, second: Call) -> Finish:
        """Without a race."""
        answers: list[str] = []
        for orders, call in zip(self._orders, (first, second), strict=True):
            number = next(self._numbers)
            orders.put((number, call, None))
            kind, said = self._next(number)
            assert kind == "answer"
            answers.append(said)
        return Finish(answers[0], answers[1], waited=False)

    def _against_the_first(self, number: int, second: Call) -> Finish:
        other = next(self._numbers)
        self._orders[1].put((other, second, None))
        early = self._answer_or_wait(other)
        self._orders[0].put("go")
        answers: dict[int, str] = {} if early is None else {other: early}
        while len(answers) < 2:
            about, kind, said = self._news.get(True, PATIENCE_SECONDS)
            if kind == "answer":
                answers[about] = said
        return Finish(answers[number], answers[other], waited=early is None)

    def _answer_or_wait(self, number: int) -> str | None:
        """What the second side answers, or None once it waits for the first."""
        end = threading.Event()
        timer = threading.Timer(PATIENCE_SECONDS, end.set)
        timer.start()
        try:
            while not end.is_set():
                try:
                    about, kind, said = self._news.get(True, _LOOK_SECONDS if self._server else PATIENCE_SECONDS)
                except queue.Empty:
                    if self._server is not None and self._server.execute(_BLOCKED).fetchone() == (True,):
                        return None
                    continue
                if kind == "waits":
                    return None
                if (about, kind) == (number, "answer"):
                    return str(said)
        finally:
            timer.cancel()
        raise AssertionError("the second side neither ended nor waited")

    def _next(self, number: int) -> tuple[str, str]:
        while True:
            about, kind, said = self._news.get(True, PATIENCE_SECONDS)
            if about == number:
                return kind, said


@contextmanager
def threads(url: str) -> Generator[Track]:
    """Two sides in threads of this process, each with a store of its own."""
    orders: tuple[Mailbox, Mailbox] = (queue.SimpleQueue[Any](), queue.SimpleQueue[Any]())
    news: Mailbox = queue.SimpleQueue[Any]()
    runners = [threading.Thread(target=Side(url, each, news).run) for each in orders]
    with noting_busy_files(lambda: news.put((None, "waits", ""))):
        yield from _running(url, orders, news, runners)


@contextmanager
def processes(url: str) -> Generator[Track]:
    """Two sides in processes of their own."""
    context = multiprocessing.get_context("spawn")
    orders: tuple[Mailbox, Mailbox] = (context.Queue(), context.Queue())
    news: Mailbox = context.Queue()
    runners = [context.Process(target=Side(url, each, news).run_in_process) for each in orders]
    yield from _running(url, orders, news, runners)


class _Runner(Protocol):
    def start(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...

    def is_alive(self) -> bool: ...


def _running(url: str, orders: tuple[Mailbox, Mailbox], news: Mailbox, runners: list[Any]) -> Generator[Track]:
    started: list[_Runner] = runners
    for runner in started:
        runner.start()
    track = Track(url, orders, news)
    try:
        yield track
    finally:
        track.close()
        for runner in started:
            runner.join(PATIENCE_SECONDS)
            assert not runner.is_alive(), "a side has not come to its end"
