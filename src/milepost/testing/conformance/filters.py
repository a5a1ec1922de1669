"""Each condition of a `TaskFilter` on its own and together, and containment as the pure `contains` has it."""

from __future__ import annotations

import json
from typing import Any

from milepost.lifecycle import events
from milepost.lifecycle.events import Event
from milepost.lifecycle.states import TaskState
from milepost.payload import Json, JsonText, contains
from milepost.stores.filter import TaskFilter, TaskOrder
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import (
    HOUR,
    NOW,
    SECOND,
    apply,
    claim_one,
    count,
    insert,
    numbers,
    same,
    sample,
    samples,
    search,
    task_id,
)

_X = JsonText('{"page":7}')
_WAYS: tuple[Event, ...] = (
    events.Succeeded(_X),
    events.Failed(_X),
    events.GaveUp(_X),
    events.Stalled(),
    events.Suspended(_X),
    events.Interrupted(),
    events.Failed(_X, retry_after=HOUR),
    events.Committed(_X),
)
"""From running to each of the states that a run can lead to."""


async def no_condition_finds_everything(store: Store) -> None:
    await insert(store, *samples(3, 1, 2))
    await _finds(store, [1, 2, 3])


async def ids_are_a_condition(store: Store) -> None:
    await insert(store, *samples(1, 2, 3))
    await _finds(store, [1, 3], ids=(task_id(3), task_id(9), task_id(1)))


async def names_are_a_condition(store: Store) -> None:
    await insert(store, sample(1, name="a"), sample(2, name="b"), sample(3, name="c"), sample(4, name="A"))
    await _finds(store, [1, 3], names=("a", "c", "x"))


async def queues_are_a_condition(store: Store) -> None:
    await insert(store, sample(1, queue="a"), sample(2, queue="b"), sample(3, queue="b%"))
    await _finds(store, [2], queues=("b",))


async def keys_are_a_condition(store: Store) -> None:
    await insert(store, sample(1, key="a"), sample(2, key="b"), sample(3), sample(4, key="a", name="other"))
    await _finds(store, [1, 4], keys=("a",))


async def correlations_are_a_condition(store: Store) -> None:
    await insert(store, sample(1, correlation="a"), sample(2, correlation="b"), sample(3))
    await _finds(store, [1, 2], correlations=("b", "a"))


async def states_are_a_condition(store: Store) -> None:
    for n, event in enumerate(_WAYS):
        await apply(store, await claim_one(store, sample(n, queue=f"q{n}")), event)
    await insert(store, sample(8, due_at=NOW + HOUR))
    by_state = "completed failed cancelled quarantined suspended interrupted retrying running pending"
    for n, state in enumerate(by_state.split()):
        await _finds(store, [n], states=(TaskState(state),))
    await _finds(store, [0, 1, 2], states=(TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED))


async def a_range_of_creation_has_its_lower_and_not_its_upper_end(store: Store) -> None:
    for n in range(5):
        await insert(store, sample(n, created_at=NOW + n * SECOND))
    await _finds(store, [2, 3, 4], created_from=NOW + 2 * SECOND)
    await _finds(store, [0, 1], created_before=NOW + 2 * SECOND)
    await _finds(store, [1, 2], created_from=NOW + SECOND, created_before=NOW + 3 * SECOND)


async def a_range_of_due_times_leaves_out_what_is_not_due(store: Store) -> None:
    await apply(store, await claim_one(store, sample(9)), events.Suspended(_X))
    for n in range(4):
        await insert(store, sample(n, due_at=NOW + n * SECOND))
    await _finds(store, [2, 3], due_from=NOW + 2 * SECOND)
    await _finds(store, [0, 1], due_before=NOW + 2 * SECOND)
    await _finds(store, [1], due_from=NOW + SECOND, due_before=NOW + 2 * SECOND)


async def a_range_of_ends_leaves_out_what_has_not_ended(store: Store) -> None:
    await insert(store, sample(9, queue="other"))
    for n in range(4):
        await apply(store, await claim_one(store, sample(n)), events.Succeeded(_X), now=NOW + n * SECOND)
    await _finds(store, [2, 3], finished_from=NOW + 2 * SECOND)
    await _finds(store, [0, 1], finished_before=NOW + 2 * SECOND)
    await _finds(store, [1], finished_from=NOW + SECOND, finished_before=NOW + 2 * SECOND)


async def a_text_that_no_store_can_hold_is_found_nowhere(store: Store) -> None:
    await insert(store, sample(1, key="k", correlation="c"), sample(2, key="\\0", correlation="\\ud800"))
    for text in ("\0", "k\0", "\ud800", "\udfff k"):
        for field in ("ids", "names", "queues", "keys", "correlations", "texts"):
            await _finds(store, [], **{field: (text,)})
    await _finds(store, [1], keys=("\0", "k", "\ud800"))


async def an_empty_tuple_of_values_matches_nothing(store: Store) -> None:
    await insert(store, sample(1, key="k", correlation="c"))
    for field in ("ids", "names", "states", "queues", "keys", "correlations", "texts"):
        await _finds(store, [], **{field: ()})


async def every_condition_must_hold(store: Store) -> None:
    await insert(store, sample(1, name="a", queue="x", correlation="c"), sample(2, name="a", queue="y"))
    await insert(store, sample(3, name="b", queue="x", correlation="c"), sample(4, name="a", queue="x"))
    await _finds(store, [1, 4], names=("a",), queues=("x",))
    await _finds(store, [1], names=("a",), queues=("x",), correlations=("c",))
    await _finds(store, [4], names=("a", "b"), queues=("x",), metadata=(JsonText('{"n":4}'),))
    await _finds(store, [], names=("b",), queues=("y",))
    await _finds(store, [3], ids=(task_id(3), task_id(2)), queues=("x",), states=(TaskState.PENDING,))


async def several_parts_of_metadata_must_all_be_contained(store: Store) -> None:
    await insert(store, sample(1, metadata_json=JsonText('{"a":1,"b":2}')))
    await insert(store, sample(2, metadata_json=JsonText('{"a":1,"b":3}')))
    await _finds(store, [1], metadata=(JsonText('{"a":1}'), JsonText('{"b":2}')))
    await _finds(store, [1, 2], metadata=(JsonText('{"a":1}'),))


async def execution_metadata_is_searched_as_it_is_now(store: Store) -> None:
    first = JsonText('{"page":1}')
    claimed = await claim_one(store, sample(1, execution_metadata_json=first))
    await insert(store, sample(2, execution_metadata_json=first))
    await apply(store, claimed, events.Committed(_X))
    await _finds(store, [1], execution_metadata=(_X,))
    await _finds(store, [2], execution_metadata=(first,))
    await _finds(store, [], execution_metadata=(_X,), metadata=(JsonText('{"n":2}'),))


async def containment_is_typed(store: Store) -> None:
    wholes = ('{"id":42}', '{"id":"42"}', '{"id":true}', '{"id":1}', '{"id":null}', "{}")
    await insert(store, *(sample(n, metadata_json=JsonText(text)) for n, text in enumerate(wholes)))
    for n, text in enumerate(wholes[:-1]):
        await _finds(store, [n], metadata=(JsonText(text),))
    await _finds(store, [0, 1, 2, 3, 4, 5], metadata=(JsonText("{}"),))


async def containment_is_what_the_pure_function_says(store: Store) -> None:
    wholes = [json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for whole in _VALUES]
    await insert(store, *(sample(n, metadata_json=JsonText(text)) for n, text in enumerate(wholes)))
    for part in _VALUES:
        wanted = [n for n, whole in enumerate(_VALUES) if contains(whole, part)]
        text = JsonText(json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        found = numbers(await search(store, TaskFilter(metadata=(text,))))
        same([_VALUES[n] for n in found], [_VALUES[n] for n in wanted], f"what contains {text}")
        same(await count(store, TaskFilter(metadata=(text,))), len(wanted), f"count of what contains {text}")


_VALUES: tuple[Json, ...] = (
    None,
    True,
    False,
    0,
    1,
    "",
    "1",
    [],
    {},
    [[]],
    [{}],
    [1],
    [1, 2],
    [2, 1, 1],
    [[1], [2]],
    ["1", None],
    [True],
    {"a": None},
    {"a": {}},
    {"a": []},
    {"a": [1, 2]},
    {"a": {"b": 1}},
    {"a": {"b": 1, "c": [{"d": "x"}]}},
    {"a": {"c": [{"d": "x"}]}},
    {"a": {"c": [{}]}},
    {"a.b": 1},
    {"a": 0},
    {"a": False},
    {"a": ""},
    {"a": 1.5},
    {"a": 1.0},
    {"a": 1},
    {"a": -1},
    {"a": 9007199254740993},
    {"a": 2**63},
    {"a": 1e300},
    {"": ""},
    {'quo"te': "it's"},
    {"quo'te": 'say "x"'},
    {"back\\slash": "\\"},
    {"$": "[0]", "%": "_"},
    {"ключ": "значение"},
    {"emoji": "🛤"},
    {"emoji": "🛤", "line": "a\nb"},
    [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}],
    [{"tags": ["b"]}],
    [{"id": 1}, {"id": 2}],
)


async def _finds(store: Store, wanted: list[int], **conditions: Any) -> None:
    """Fail unless search and count find exactly these, in both orders."""
    what = ", ".join(f"{name}={value!r}" for name, value in conditions.items()) or "no condition"
    oldest = TaskFilter(**conditions)
    newest = TaskFilter(**conditions, order=TaskOrder.NEWEST_FIRST)
    same(numbers(await search(store, oldest)), sorted(wanted), f"search with {what}")
    same(numbers(await search(store, newest)), sorted(wanted, reverse=True), f"search, newest first, with {what}")
    same(await count(store, oldest), len(wanted), f"count with {what}")
