"""Searching for a text: in which parts of a task, in either case, and nothing but that text."""

from __future__ import annotations

from milepost.crash import Crash, CrashKind
from milepost.lifecycle import events
from milepost.payload import JsonText
from milepost.stores.filter import TaskFilter
from milepost.stores.protocol import Store
from milepost.testing.conformance.kit import apply, claim_one, count, insert, numbers, same, sample, search

_X = JsonText('{"page":7}')


async def a_text_is_searched_in_every_part_that_people_know_a_task_by(store: Store) -> None:
    await insert(store, sample(1, name="needle"), sample(2, key="a needle"), sample(3, correlation="needles"))
    await insert(store, sample(4, metadata_json=JsonText('{"at":"needle"}')))
    await insert(store, sample(5, execution_metadata_json=JsonText('{"at":["needle"]}')))
    await apply(store, await claim_one(store, sample(6, queue="q")), events.Failed(JsonText('"no needle"')))
    crash = Crash(CrashKind.EXCEPTION, "lost the needle", "haystack.Burning", "File needle.py")
    await apply(store, await claim_one(store, sample(7, queue="q")), events.Crashed(crash, retryable=False))
    await insert(store, sample(8), sample(9, queue="needle"))
    await _finds(store, [1, 2, 3, 4, 5, 6, 7], "needle")
    await _finds(store, [7], "haystack.burning")


async def a_traceback_and_a_result_are_not_searched(store: Store) -> None:
    crash = Crash(CrashKind.EXCEPTION, "m", "T", "File needle.py")
    await apply(store, await claim_one(store, sample(1)), events.Crashed(crash, retryable=False))
    await apply(store, await claim_one(store, sample(2)), events.Succeeded(JsonText('"needle"')))
    await _finds(store, [], "needle")


async def letters_match_in_either_case_whatever_their_language(store: Store) -> None:
    await insert(store, sample(1, key="MÜLLER & Söhne"), sample(2, key="ΑΘΗΝΑ"), sample(3, key="ŽIŽKA"))
    await _finds(store, [1], "müller")
    await _finds(store, [1], "SÖHNE")
    await _finds(store, [2], "αθηνα")
    await _finds(store, [3], "žižka")
    await _finds(store, [], "muller")


async def no_character_of_a_text_is_a_wildcard(store: Store) -> None:
    for n, mark in enumerate(_MARKS):
        await insert(store, sample(n, key=f"x{mark}y"))
    for n, mark in enumerate(_MARKS):
        await _finds(store, [n], f"x{mark}y")
    await _finds(store, [], "x..y")
    await _finds(store, list(range(len(_MARKS))), "X")


async def a_text_in_a_payload_is_found_as_it_is_written_and_as_it_is_stored(store: Store) -> None:
    await insert(store, sample(1, metadata_json=JsonText('{"said":"\\"so\\"\\nand left"}')))
    await _finds(store, [1], '"so"\nAND')
    await _finds(store, [1], '"said":"')
    await _finds(store, [1], '\\"so\\"')
    await _finds(store, [], "'so'")


async def any_of_several_texts_may_stand_there(store: Store) -> None:
    await insert(store, sample(1, key="one"), sample(2, correlation="two"), sample(3, key="three"))
    await _finds(store, [1, 2], "one", "two", "four")


async def a_text_does_not_reach_from_one_part_into_the_next(store: Store) -> None:
    await insert(store, sample(1, key="ab", correlation="cd"))
    for text in ("abcd", "ab cd", "ab\ncd"):
        await _finds(store, [], text)


_MARKS = (*"%_*?.[]^$(){}|\\/'\";#&~-+ \t\n🛤", "--", ".*", "a|")


async def _finds(store: Store, wanted: list[int], *texts: str) -> None:
    asked = TaskFilter(texts=texts)
    same(numbers(await search(store, asked)), wanted, f"search for {texts!r}")
    same(await count(store, asked), len(wanted), f"count of {texts!r}")
