"""Secret fields: stored as they are, and masked in everything that a codec and a task show to people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from milepost import Empty, Failure, Json, Success, Task, TaskRecord, TaskResult, secret, task
from milepost.codec import CodecFactory, TypeCodec
from milepost.codec.secrets import MASK, without
from milepost.payload import JsonText, PayloadRefused
from milepost.results import Cancellation
from milepost.testing.conformance.kit import sample

CANARY = "hunter2-canary"


@frozen
class Login:
    user: str
    password: str = field(repr=secret)


@frozen
class Token:
    value: str = field(default="", repr=secret)


@frozen
class Keys:
    by_name: dict[str, str] = field(repr=secret)


class Options(TypedDict):
    login: Login
    retries: int


@frozen
class Tree:
    token: Token
    children: list[Tree]


@frozen
class Everything:
    one: Login
    either: Login | Token
    perhaps: Login | None
    many: list[Login]
    pair: tuple[int, Login]
    named: Mapping[str, Login]
    options: Options
    anything: Json
    number: int = field(default=0, repr=secret)


LOGIN = Login("ada", CANARY)
EVERYTHING = Everything(
    one=LOGIN,
    either=Token(CANARY),
    perhaps=LOGIN,
    many=[LOGIN, LOGIN],
    pair=(1, LOGIN),
    named={"x": LOGIN},
    options={"login": LOGIN, "retries": 3},
    anything={"free": ["form"]},
    number=4711,
)


def codec(type_: Any) -> TypeCodec[Any]:
    return CodecFactory().codec(type_)


def stored(value: object, type_: Any = None) -> JsonText:
    text: JsonText = codec(type_ or type(value)).encode(value).unwrap()
    return text


# What is shown


def test_a_secret_is_stored_as_it_is_and_comes_back() -> None:
    assert CANARY in stored(LOGIN)
    assert codec(Login).decode(stored(LOGIN)).unwrap() == LOGIN


def test_the_repr_of_a_class_and_of_whatever_holds_it_is_masked() -> None:
    assert repr(LOGIN) == "Login(user='ada', password=***)"
    for holder in (Success(LOGIN), Failure(LOGIN), Cancellation(LOGIN), EVERYTHING, tasked().with_metadata(LOGIN)):
        assert "ada" in repr(holder)
        assert CANARY not in repr(holder)


def test_every_secret_of_a_payload_is_masked_wherever_it_is() -> None:
    login: Json = {"user": "ada", "password": MASK}
    assert codec(Everything).shown(stored(EVERYTHING)) == {
        "one": login,
        "either": {"$type": "Token", "value": MASK},
        "perhaps": login,
        "many": [login, login],
        "pair": [1, login],
        "named": {"x": login},
        "options": {"login": login, "retries": 3},
        "anything": {"free": ["form"]},
        "number": MASK,
    }


def test_a_class_that_holds_itself_is_masked_to_its_depth() -> None:
    tree = Tree(Token(CANARY), [Tree(Token(CANARY), [])])
    shown = codec(Tree).shown(stored(tree))
    assert shown == {"token": {"value": MASK}, "children": [{"token": {"value": MASK}, "children": []}]}


def test_unions_of_what_json_tells_apart_are_masked() -> None:
    union = int | list[Login] | dict[str, int] | None
    for value in (7, {"$type": 1}, None):
        assert codec(union).shown(stored(value, union)) == value
    assert codec(union).shown(stored([LOGIN], union)) == [{"user": "ada", "password": MASK}]
    tagged = Login | tuple[Token, ...]
    shown = codec(tagged).shown(stored((Token(CANARY),), tagged))
    assert shown == {"$type": "tuple", "$value": [{"value": MASK}]}


@pytest.mark.parametrize(
    "text",
    [
        "{damaged",
        "",
        f'{{"user":"ada","passwort":"{CANARY}"}}',
        f'{{"user":"{CANARY}"}}',
        f'["{CANARY}"]',
        "[" * 100_000,
        f'{{"user":{{"password":"{CANARY}"}},"password":"x"}}',
    ],
)
def test_of_a_payload_that_cannot_be_read_nothing_is_shown(text: str) -> None:
    assert codec(Login).shown(text) == MASK


def test_a_type_without_secrets_is_shown_as_it_is_damaged_or_not() -> None:
    assert codec(list[int]).shown("[1]") == [1]
    assert codec(list[int]).shown('["x"]') == ["x"]
    assert codec(list[int]).shown("{damaged") == "{damaged"


TEXTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["user", "password", "one", "$type", "$value", "many", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
).map(json.dumps)


@given(text=TEXTS | st.text())
def test_showing_is_total_and_hides_what_stands_where_it_should(text: str) -> None:
    for type_ in (Login, Everything, Login | Token, list[Login], dict[str, Login]):
        shown = codec(type_).shown(text)
        # A user name may be whatever it likes; nothing else may be the secret.
        assert CANARY not in json.dumps(shown).replace(f'"user": "{CANARY}"', "")


# What is refused


def has_digits(_: object, field: object, value: str) -> None:
    if not value.isdigit():
        raise ValueError(f"{value} has letters")


@frozen
class Pin:
    digits: str = field(repr=secret, validator=has_digits)


@frozen
class Picky:
    pin: str = field(repr=secret, validator=attrs.validators.matches_re(r"\d+"))


@frozen
class Raising:
    pin: str = field(repr=secret)

    def __attrs_post_init__(self) -> None:
        raise KeyError(self.pin)


@pytest.mark.parametrize(
    ("type_", "text", "told"),
    [
        (Pin, f'{{"digits":"{CANARY}"}}', "$: Pin does not take it: ValueError"),
        (Picky, f'{{"pin":"{CANARY}"}}', "$: Picky does not take it: ValueError"),
        (Raising, f'{{"pin":"{CANARY}"}}', "$: Raising does not take it: KeyError"),
        (list[Pin], f'[{{"digits":"1"}},{{"digits":"{CANARY}"}}]', "$[1]: Pin does not take it: ValueError"),
        (Login, f'{{"user":"ada","password":["{CANARY}"]}}', "$.password: a secret field does not take it"),
        (Keys, f'{{"by_name":{{"{CANARY}":7}}}}', "$.by_name: a secret field does not take it"),
        (Login, f'{{"user":["{CANARY}"],"password":"x"}}', "$.user: expected str, got list"),
        (Login, f'"{CANARY}"', "$: expected object with the fields of Login, got str"),
        (Login | Token, f'{{"password":"{CANARY}"}}', "expected one of"),
        (Login, '{"user":"ada"}', "$: lacks the field 'password'"),
    ],
)
def test_a_refusal_of_a_stored_payload_quotes_nothing(type_: Any, text: str, told: str) -> None:
    refused = str(codec(type_).decode(text).failure())
    assert told in refused
    assert CANARY not in refused


@pytest.mark.parametrize(
    ("type_", "value", "told"),
    [
        (Login, Login("ada", f"{CANARY}\0"), "$.password: text with a NUL character"),
        (Keys, Keys({CANARY: "\ud800"}), "$.by_name: text with a lone surrogate"),
        (Login, Login("ada", [CANARY]), "$.password: a secret field does not take it"),  # type: ignore[arg-type]
        (Login, {"password": CANARY}, "$: expected Login, got dict"),
        (Login, Login("\0", CANARY), "$.user: text with a NUL character"),
    ],
)
def test_a_refusal_to_store_quotes_nothing(type_: Any, value: object, told: str) -> None:
    refused = codec(type_).write(value)
    assert isinstance(refused, PayloadRefused)
    assert told in str(refused)
    assert CANARY not in str(refused)


def test_a_type_without_secrets_is_still_quoted() -> None:
    assert str(codec(list[int]).decode('["x"]').failure()) == "$[0]: expected int, got str 'x'"


# Of tasks


def log_in(metadata: Login, progress: Token) -> TaskResult[Login, Login]:
    return Success(metadata)


def tasked(**options: Any) -> Task[Login, Token, Login, Login]:
    make: Any = task
    made: Task[Login, Token, Login, Login] = make(name="log-in", **options)(log_in)
    return made


def a_row(**changes: Any) -> TaskRecord:
    texts = {name: stored(LOGIN) for name in ("metadata_json", "result_json", "error_json")}
    tokens = {name: stored(Token(CANARY)) for name in ("execution_metadata_json", "initial_execution_metadata_json")}
    return sample(1, **{"name": "log-in", **texts, **tokens, **changes})


def test_a_record_is_shown_with_all_of_its_payloads_masked() -> None:
    row = a_row()
    shown = tasked().shown(row)
    assert shown.metadata == shown.result == shown.error == {"user": "ada", "password": MASK}
    assert shown.execution_metadata == {"value": MASK}
    assert shown.initial_execution_metadata_json == '{"value":"***"}'
    assert (shown.id, shown.created_at, shown.crash) == (row.id, row.created_at, row.crash)


def test_a_record_of_a_task_without_secrets_is_shown_as_it_is() -> None:
    @task(name="plain")
    def plain(metadata: int, progress: Empty) -> TaskResult[Empty, Empty]:
        return Success(Empty())

    row = sample(1, metadata_json=JsonText("{damaged"))
    assert plain.shown(row) == row


def test_an_old_row_is_shown_upgraded_and_not_at_all_without_an_upgrade() -> None:
    def named(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
        assert isinstance(metadata, dict)
        return {"user": metadata["name"], "password": metadata["password"]}, execution_metadata

    row = a_row(metadata_json=JsonText(f'{{"name":"ada","password":"{CANARY}"}}'))
    assert tasked(version=2, upgrades={1: named}).shown(row).metadata == {"user": "ada", "password": MASK}
    assert tasked(version=2).shown(row).metadata == MASK
    assert tasked().shown(attrs.evolve(row, version=2)).metadata == MASK


def test_the_repr_of_a_record_has_no_payloads() -> None:
    assert CANARY not in repr(a_row())


def test_what_an_upgrade_raises_is_not_quoted() -> None:
    def failing(metadata: Json, execution_metadata: Json) -> tuple[Json, Json]:
        raise ValueError(f"cannot read {metadata}")

    (fault,) = tasked(version=2, upgrades={1: failing}).faults_of(a_row())
    assert str(fault.refusal) == "$: the upgrade from version 1 failed: ValueError"


def test_the_secrets_of_a_row_are_taken_out_of_a_message() -> None:
    message = f"no such user: ada with {CANARY!r} at 4 o'clock"
    assert tasked().hide(message, a_row()) == "no such user: ada with '***' at 4 o'clock"
    damaged = a_row(metadata_json=JsonText(f'{{"passwort":"{CANARY}"}}'))
    assert CANARY not in tasked().hide(message, damaged)


def test_secrets_are_found_with_their_escapes_and_the_longest_first() -> None:
    row = a_row(metadata_json=stored(Login("ada", "it's\na secret")))
    assert tasked().hide(repr("it's\na secret") + "it's\na secret", row) == '"***"***'
    assert without("abcdefgh", frozenset({"abcd", "abcdefgh"})) == MASK
