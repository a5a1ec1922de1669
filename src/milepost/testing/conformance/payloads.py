"""What goes in comes out: texts, numbers and times, to the last character and microsecond."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.lifecycle.record import Audit
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    apply,
    claim,
    claim_one,
    decided,
    get,
    history,
    holders,
    insert,
    numbers,
    same,
    sample,
    search,
    write,
)

_TEXTS = (
    "",
    " ",
    "it's",
    'say "x"; drop table task; --',
    "%s %(name)s ? :name ?1 $1 {0}",
    "back\\slash \\u0000 \\n",
    "tab\tline\nreturn\r\nbell\x07escape\x1bdelete\x7f",
    "Ünïcödé ключ 鍵 🛤️ \u200d \u2028 \ufeff \ufffd \U0010ffff",
    "e\u0301 and é",
    "null",
    "123",
)


async def payloads_round_trip_exactly(store: Store) -> None:
    texts = [JsonText(text) for text in _payloads()]
    for n, text in enumerate(texts):
        changes = {"metadata_json": text, "execution_metadata_json": text, "initial_execution_metadata_json": text}
        await insert(store, sample(n, **changes))
        same(await get(store, sample(n).id), sample(n, **changes), f"a new task with payload {text[:60]}")
    claimed = await claim(store)
    for n, (record, text) in enumerate(zip(claimed, texts, strict=True)):
        committed = await apply(store, record, events.Committed(text))
        end = events.Succeeded(text) if n % 2 else events.Failed(text)
        ended = await apply(store, committed, end)
        same(await get(store, record.id), ended, f"an ended task with payload {text[:60]}")


async def texts_round_trip_exactly(store: Store) -> None:
    for n, text in enumerate(_TEXTS):
        record = sample(n, name=f"n{text}", queue=f"q{text}", key=f"k{text}", correlation=text)
        claimed = await claim_one(store, record, f"executor {text}")
        same(claimed.executor, f"executor {text}", "the executor")
        asked = await apply(store, claimed, events.CancelRequested(text))
        same(await get(store, record.id), asked, f"a task with text {text!r} in every column")
        found = await search(store, TaskFilter(names=(record.name,), queues=(record.queue,), correlations=(text,)))
        same(numbers(found), [n], f"a search for {text!r}")
        key = (record.name, record.key or "")
        same(await holders(store, key), {key: asked}, f"the holder of {text!r}")


async def crashes_and_reasons_round_trip_exactly(store: Store) -> None:
    for n, text in enumerate(_TEXTS):
        claimed = await claim_one(store, sample(n))
        crash = Crash(tuple(CrashKind)[n % len(CrashKind)], text, f"module.{text}", f"Traceback\n{text}")
        retrying = decided(claimed, events.Crashed(crash))
        same(await write(store, retrying), [True], "writing a crash")
        same(await get(store, claimed.id), retrying.after, f"a task whose crash says {text!r}")
        same(tuple((await history(store, claimed.id))[-1:]), retrying.history, f"a history whose reason says {text!r}")


async def an_empty_crash_is_not_no_crash(store: Store) -> None:
    claimed = await claim_one(store, sample(1))
    ended = await apply(store, claimed, events.Crashed(Crash(CrashKind.TIMEOUT), retryable=False))
    same(ended.crash, Crash(CrashKind.TIMEOUT), "the crash that the check needs")
    same((await get(store, ended.id)).crash, ended.crash, "a crash without a message")


async def empty_and_zero_are_not_absent(store: Store) -> None:
    record = sample(1, key="", correlation="", deadline_seconds=0.0, deadline_at=NOW, progress=0.0)
    await insert(store, record)
    same(await get(store, record.id), record, "a task with empty texts and zeros")
    result = await apply(store, await claim_one(store, sample(2, queue="q")), events.Succeeded(JsonText("null")))
    same((await get(store, result.id)).result_json, "null", "a result that is null")


async def every_field_of_a_new_task_round_trips(store: Store) -> None:
    for n, audit in enumerate(Audit):
        record = sample(
            n,
            name="reports.send",
            version=2**31 - 1,
            queue="slow",
            priority=-(2**31),
            key=f"k{n}",
            correlation="c",
            audit=audit,
            due_at=NOW + HOUR,
            metadata_json=JsonText('{"a":1}'),
            execution_metadata_json=JsonText('{"b":2}'),
            initial_execution_metadata_json=JsonText('{"b":2}'),
            deadline_seconds=1 / 3,
            deadline_at=NOW + 2 * HOUR,
        )
        await insert(store, record)
        same(await get(store, record.id), record, f"a task with audit {audit.value}")


async def times_round_trip_to_the_microsecond(store: Store) -> None:
    moments = (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2030, 6, 15, 12, 34, 56, 789_012, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    )
    for n, moment in enumerate(moments):
        record = sample(n, due_at=moment, created_at=moment, deadline_at=moment)
        await insert(store, record)
        same(await get(store, record.id), record, f"a task with times {moment}")
        found = await search(store, TaskFilter(due_from=moment, due_before=moment + timedelta(microseconds=1)))
        same(numbers(found), [n], f"a search for the microsecond {moment}")


async def times_come_back_in_utc(store: Store) -> None:
    away = timezone(timedelta(hours=5, minutes=30))
    record = sample(1, due_at=NOW.astimezone(away), created_at=NOW.astimezone(away))
    await insert(store, record)
    found = await get(store, record.id)
    same(found, record, "a task with times of another zone, as instants")
    same(numbers(await claim(store, now=NOW.astimezone(away))), [1], "a claim with a time of another zone")


def _payloads() -> tuple[str, ...]:
    deep: Callable[[str, str], str] = lambda left, right: left * 63 + "1" + right * 63  # noqa: E731
    return (
        "null",
        '""',
        "{}",
        "[]",
        "0",
        "true",
        '{"a":1,"b":[1.5,-0.0,1e+300,5e-324,true,null,"x"]}',
        '{"it\'s":"say \\"x\\"","q":"?","p":"%s","c":":name","d":"$1"}',
        '{"control":"\\u0001\\n\\t\\u001f","slash":"\\\\ / \\\\n"}',
        '{"ключ":"значение","emoji":"🛤️","last":"\U0010ffff","separator":"\u2028"}',
        '{"":{"":""}}',
        f'{{"big":{2**63},"bigger":{10**60},"least":{-(2**63)},"exact":9007199254740993}}',
        '{"z":1,"a":2}',
        deep("[", "]"),
        deep('{"a":', "}"),
        '"' + "x" * ((1 << 20) - 2) + '"',
        '"' + "🛤" * ((1 << 18) - 1) + '"',
    )
