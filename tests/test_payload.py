"""Canonical JSON: what is stored, what is refused and where, and what containment means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from milepost.payload import Json, contains, from_json_text, to_json_text
from tests.strategies import json_values


@given(json_values())
def test_what_is_written_is_read_back(value: Json) -> None:
    assert from_json_text(to_json_text(value).unwrap()).unwrap() == value


@given(json_values())
def test_the_text_is_canonical(value: Json) -> None:
    text = to_json_text(value).unwrap()
    assert to_json_text(from_json_text(text).unwrap()).unwrap() == text
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_order_of_keys_does_not_matter() -> None:
    assert to_json_text({"b": 1, "a": {"d": 1, "c": 2}}) == to_json_text({"a": {"c": 2, "d": 1}, "b": 1})


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (float("nan"), "$: nan is not a JSON number"),
        ({"a": [1, float("-inf")]}, "$.a[1]: -inf is not a JSON number"),
        ({"a": "x\0y"}, "$.a: text with a NUL character, which databases cut or refuse"),
        ({"x\0": 1}, "$ (a key): text with a NUL character, which databases cut or refuse"),
        ({"a": ["ok\ud800"]}, "$.a[0]: text with a lone surrogate at character 2"),
        ({"\udfff": 1}, "$ (a key): text with a lone surrogate at character 0"),
        ({"a": {1: 2}}, "$.a: the key 1 is not text"),
        ([{True: 2}], "$[0]: the key True is not text"),
        ([({None: 2},)], "$[0][0]: the key None is not text"),
        ({"a": {1: 2, "b": 3}}, "$.a: the key 1 is not text"),
        ({"a": {1, 2}}, "$.a: a set is not a JSON value"),
        ({"a": b"x"}, "$.a: a bytes is not a JSON value"),
        ([10**5_000], "$[0]: an integer of more than 4000 digits"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, fault: str) -> None:
    assert str(to_json_text(value).failure()) == fault


def test_text_that_only_looks_wrong_is_stored() -> None:
    for value in ("\\u0000", "[[[[" * 100, "{" * 500, "NaN", "\ufffd", "🛤"):
        assert from_json_text(to_json_text(value).unwrap()).unwrap() == value


def test_nesting_is_limited() -> None:
    assert to_json_text(_nested(64)).unwrap() == "[" * 64 + "]" * 64
    assert "deeper than 64" in str(to_json_text(_nested(65)).failure())
    assert "deeper than 64" in str(to_json_text(_nested(100_000)).failure())
    endless: list[Json] = []
    endless.append(endless)
    assert "deeper than 64" in str(to_json_text(endless).failure())


def test_many_flat_containers_are_not_deep() -> None:
    value: Json = [{"a": []} for _ in range(200)]
    assert from_json_text(to_json_text(value).unwrap()).unwrap() == value


@pytest.mark.parametrize("letter", ["x", "é", "🛤"])
def test_the_size_is_limited_in_bytes(letter: str) -> None:
    size = 2 + 10 * len(letter.encode())
    assert to_json_text(letter * 10, bytes_max=size).unwrap() == f'"{letter * 10}"'
    told = f"$: {size} bytes, the limit is {size - 1} (payload_bytes_max)"
    assert str(to_json_text(letter * 10, bytes_max=size - 1).failure()) == told


@pytest.mark.parametrize("text", ["", "{", "nan", "NaN", "[Infinity]", "'a'", "[" * 100_000, "1" * 5_000, "{} {}"])
def test_damaged_text_is_a_refusal_and_never_an_exception(text: str) -> None:
    assert from_json_text(text).failure().path == "$"


@given(json_values())
def test_everything_contains_itself(value: Json) -> None:
    assert contains(value, value)


@given(json_values(), json_values(), json_values())
def test_containment_carries_over(whole: Json, part: Json, piece: Json) -> None:
    if contains(whole, part) and contains(part, piece):
        assert contains(whole, piece)


@pytest.mark.parametrize(
    ("whole", "part", "answer"),
    [
        ({"id": 42}, {"id": 42}, True),
        ({"id": 42}, {"id": "42"}, False),
        ({"id": 1}, {"id": True}, False),
        ({"id": False}, {"id": 0}, False),
        ({"id": 1}, {"id": 1.0}, True),
        ({"id": None}, {"id": None}, True),
        ({}, {"id": None}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2}}, True),
        ({"a": {"b": 1}}, {"b": 1}, False),
        ([1, 2, 3], [3, 3, 1], True),
        ([1, 2, 3], [4], False),
        ([[1, 2], [3]], [[2]], True),
        ([1], 1, False),
        ([], {}, False),
        ({"a": []}, {"a": {}}, False),
    ],
)
def test_containment_is_typed_and_by_structure(whole: Json, part: Json, answer: bool) -> None:
    assert contains(whole, part) is answer


def _nested(depth: int) -> Json:
    value: Json = []
    for _ in range(depth - 1):
        value = [value]
    return value
