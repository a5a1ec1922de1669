"""Every verb of both clients, and everything that makes what they take, is given nonsense in each of its places."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from milepost import (
    BlockingClient,
    Client,
    MilepostError,
    NamedEvent,
    Retry,
    Schedule,
    Store,
    Suspended,
    TaskQuery,
    chain,
    every,
    group,
    open_store,
    saga,
)
from milepost.stores.open import connect_store
from tests.hostile.world import PAID, double

NESTED: Final = reduce(lambda inner, _: [inner], range(2_000), list[Any]())
ANYHOW: Final[Any] = double


class Unhelpful:
    """Raises whatever one asks of it, its own name included."""

    def __repr__(self) -> str:
        raise RuntimeError("no name")


HOSTILE: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 2**63, 10**5_000, 0.5, float("nan"), float("inf"), -0.0, 1e308,
    "", "x" * 10_000, "\0", "a\nb", "\ud800", "\u202e\x1b[31m", "../x", "'; drop table x; --", "{0.__class__}%s", ".x",
    b"x", (), [], [None], {}, {1: 2}, NESTED, object(), Unhelpful(), int, print, len,
    datetime(2030, 1, 1), datetime.min, datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=23, minutes=59))), timedelta.max, timedelta.min,
    double, double.with_metadata(1), ANYHOW.with_metadata("no int"), TaskQuery(), PAID, every(timedelta(hours=1)),
    Exception, BaseException(), range(3), iter([1, 2]), ...,
)  # fmt: skip

GOOD: Final[dict[str, Any]] = {
    "request": double.with_metadata(1),
    "requests": [double.with_metadata(1)],
    "id": "01a1ffd6-5a5b-74a4-b4f5-67dfb39e7d7b",
    "query": TaskQuery(),
    "target": "nobody",
    "name": "quiet",
    "schedule": Schedule("nightly", double.with_metadata(1), every(timedelta(hours=1))),
    "schedules": [],
    "event": PAID,
    "key": "k",
    "payload": 5,
    "reason": "a reason",
    "retention": None,
    "connection": None,
    "timeout_seconds": 0,
    "metadata": 1,
    "value": None,
}
"""What a call that would succeed has, by the name of the parameter; what is not here has a default."""

NO_VERBS: Final = {"audit", "store", "close", "connect", "within"}


def spoiled(call: Callable[..., Any]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """`call` with nonsense in one place and sense in all others, for each place and each nonsense."""
    parameters = inspect.signature(call).parameters.values()
    # A verb asks its store without end to say no to what it cannot know, so nobody waits for an answer.
    fixed = {each.name: GOOD[each.name] for each in parameters if each.name in GOOD}
    for place in parameters:
        for nonsense in HOSTILE:
            yield place.name, _with(call, fixed, place, nonsense)


def _with(
    call: Callable[..., Any], fixed: dict[str, Any], place: inspect.Parameter, nonsense: Any
) -> Callable[[], Any]:
    if place.kind is place.VAR_POSITIONAL:
        return lambda: call(nonsense)
    if place.kind is place.VAR_KEYWORD:
        return lambda: call(field=nonsense)
    if place.kind is place.POSITIONAL_ONLY:
        return lambda: call(nonsense)
    return lambda: call(**{**fixed, place.name: nonsense})


def verbs_of(client: object) -> dict[str, Callable[..., Any]]:
    """What can be asked of a client."""
    names = [name for name in dir(client) if not name.startswith("_") and name not in NO_VERBS]
    return {name: getattr(client, name) for name in names}


def complaint(what: str, error: BaseException) -> str:
    """One line on an error that is none of milepost's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{what}: {type(error).__name__} at {where}"


@pytest.mark.anyio
@pytest.mark.slow
async def test_every_verb_of_the_client_refuses_nonsense_in_words(tmp_path: Path) -> None:
    complaints: set[str] = set()
    calls = 0
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as store:
        client = Client(store)
        for name, verb in verbs_of(client).items():
            for place, call in spoiled(verb):
                calls += 1
                before = await _rows(store)
                try:
                    with trio.move_on_after(1):
                        answer = call()
                        if inspect.isawaitable(answer):
                            await answer
                except MilepostError as error:
                    if await _rows(store) != before:
                        complaints.add(f"{name}({place}): refused, and written")
                    if len(str(error)) > 11_000:  # an id is quoted whole
                        complaints.add(f"{name}({place}): said {len(str(error))} characters")
                except TimeoutError:
                    pass
                except Exception as error:
                    complaints.add(complaint(f"{name}({place})", error))
        after = await client.enqueue(double.with_metadata(21))
        assert (await client.get(after)).unwrap().metadata == 21
        assert (await client.explain(after)).unwrap() is not None
    assert not complaints, "\n".join(sorted(complaints))
    assert calls > 4_000


@pytest.mark.slow
def test_every_verb_of_the_blocking_client_refuses_nonsense_in_words() -> None:
    complaints: set[str] = set()
    calls = 0
    store = connect_store("memory:")
    client = BlockingClient(store)
    for name, verb in verbs_of(client).items():
        for place, call in spoiled(verb):
            if place == "timeout_seconds" and name == "wait":
                continue  # None and infinity wait for ever
            calls += 1
            try:
                call()
            except (MilepostError, TimeoutError):
                pass
            except Exception as error:
                complaints.add(complaint(f"{name}({place})", error))
    assert client.count(TaskQuery()) >= 0
    assert client.schedules() is not None
    client.close()
    assert not complaints, "\n".join(sorted(complaints))
    assert calls > 4_000


async def _rows(store: Store) -> int:
    """How much was ever written."""
    read: int = await store.read(
        lambda session: session.transaction.execute("select commits from milepost_clock")[0][0]
    )
    return read


def _step(task: Any) -> object:
    return saga(int).step(task, lambda metadata, _: metadata)


BUILDERS: Final[dict[str, Callable[..., Any]]] = {
    **{
        f"TaskQuery.{name}": getattr(TaskQuery(), name)
        for name in dir(TaskQuery)
        if name.startswith(("with_", "created"))
    },
    **{f"TaskQuery.{name}": getattr(TaskQuery(), name) for name in ("due", "finished", "after_cursor", "for_task")},
    **{
        f"request.{name}": getattr(double.with_metadata(1), name)
        for name in dir(double.with_metadata(1))
        if name.startswith(("with_", "in_queue", "after", "at", "start_within")) and name != "start_within_seconds"
    },
    "group": group,
    "chain": chain,
    "saga": saga,
    "saga.step": _step,
    "NamedEvent": NamedEvent,
    "NamedEvent.write": PAID.write,
    "Schedule": Schedule,
    "every": every,
    "until_event": Suspended().until_event,
    "Retry.fixed": Retry.fixed,
    "with_metadata": double.with_metadata,
}


@pytest.mark.slow
def test_everything_that_makes_a_value_refuses_nonsense_in_words() -> None:
    complaints: set[str] = set()
    good = {
        **GOOD,
        "when": every(timedelta(hours=1)),
        "interval": timedelta(hours=1),
        "times": 3,
        "every": timedelta(hours=1),
    }
    for name, build in BUILDERS.items():
        parameters = inspect.signature(build).parameters.values()
        fixed = {each.name: good[each.name] for each in parameters if each.name in good}
        for place in parameters:
            for nonsense in HOSTILE:
                try:
                    _with(build, fixed, place, nonsense)()
                except (MilepostError, ValueError):
                    pass
                except Exception as error:
                    complaints.add(complaint(f"{name}({place.name})", error))
    assert not complaints, "\n".join(sorted(complaints))
