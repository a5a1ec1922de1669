"""Statements are values: what a task wants written, comparable, frozen, and kept as it was when it was said."""

from __future__ import annotations

import copy
import pickle

import pytest
from attrs.exceptions import FrozenInstanceError

from milepost.effects import Parameters, Statement


def test_a_statement_without_parameters_runs_once_without_any() -> None:
    assert Statement("delete from cache").each() == ((),)


def test_a_statement_with_parameters_runs_once_with_them() -> None:
    assert Statement("insert into symbol values (?, ?)", ("trio", 1)).each() == (("trio", 1),)


def test_named_parameters_stay_a_mapping() -> None:
    assert Statement("update a set b = :b", {"b": 2}).each() == ({"b": 2},)


def test_many_runs_once_for_each_row_in_order() -> None:
    statement = Statement.many("insert into symbol values (?)", [("b",), ("a",), ("b",)])
    assert statement.each() == (("b",), ("a",), ("b",))


def test_many_takes_named_rows_and_any_iterable() -> None:
    statement = Statement.many("insert into n values (:n)", ({"n": n} for n in range(2)))
    assert statement.each() == ({"n": 0}, {"n": 1})


def test_many_without_rows_runs_never() -> None:
    assert Statement.many("insert into symbol values (?)", []).each() == ()


@pytest.mark.parametrize("parameters", [["trio", 1], ("trio", 1)])
def test_a_list_of_parameters_is_kept_as_a_tuple(parameters: Parameters) -> None:
    assert Statement("select ?, ?", parameters).parameters == ("trio", 1)


def test_a_statement_does_not_change_with_the_list_it_was_made_from() -> None:
    parameters = ["before"]
    statement = Statement("select ?", parameters)
    parameters[0] = "after"
    assert statement.parameters == ("before",)


def test_a_statement_does_not_change_with_the_mapping_it_was_made_from() -> None:
    parameters = {"x": "before"}
    statement = Statement("select :x", parameters)
    parameters["x"] = "after"
    assert statement.parameters == {"x": "before"}


def test_many_does_not_change_with_the_rows_it_was_made_from() -> None:
    row = ["before"]
    statement = Statement.many("select ?", [row])
    row[0] = "after"
    assert statement.each() == (("before",),)


def test_statements_are_equal_by_what_they_say() -> None:
    assert Statement("select ?", [1]) == Statement("select ?", (1,))
    assert Statement("select ?", [1]) != Statement("select ?", [2])
    assert Statement("select ?", [1]) != Statement.many("select ?", [[1]])


def test_a_statement_with_positional_parameters_is_hashable() -> None:
    assert len({Statement("select ?", [1]), Statement("select ?", [1]), Statement("select ?", [2])}) == 2


def test_a_statement_cannot_be_changed() -> None:
    statement = Statement("select 1")
    with pytest.raises(FrozenInstanceError):
        statement.sql = "drop table a"  # type: ignore[misc]
    assert not hasattr(statement, "__dict__")


@pytest.mark.parametrize(
    "statement", [Statement("select ?", [1]), Statement("select :x", {"x": 1}), Statement.many("select ?", [[1]])]
)
def test_a_statement_survives_copying_and_pickling(statement: Statement) -> None:
    assert copy.deepcopy(statement) == statement
    assert pickle.loads(pickle.dumps(statement)) == statement
