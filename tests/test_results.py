"""The four results: what each builder makes, how they combine, and what a result carries with it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Never, assert_never, cast

import pytest
from attrs import frozen
from attrs.exceptions import FrozenInstanceError
from returns.result import Failure as ReturnsFailure
from returns.result import Result
from returns.result import Success as ReturnsSuccess

from milepost.effects import Statement
from milepost.results import (
    Cancellation,
    Empty,
    Failure,
    Final,
    Success,
    Suspended,
    TaskResult,
    TaskValue,
    Unchanged,
    Wake,
    from_result,
)


@frozen
class Request:
    """Stands for a follow-up request."""

    name: str
    rejects_conflict: bool = False


MAIL, BILL = Request("mail"), Request("bill")
NOTE, DROP = Statement("insert into note values (?)", ["paid"]), Statement("delete from cart")
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

SUCCESS: TaskResult[int, str, float] = Success(2)
SUSPENDED: TaskResult[int, str, float] = Suspended(0.5, HOUR)
FAILURE: TaskResult[int, str, float] = Failure("late", SECOND)
CANCELLATION: TaskResult[int, str, float] = Cancellation("moot")
FOUR = pytest.mark.parametrize("result", [SUCCESS, SUSPENDED, FAILURE, CANCELLATION], ids=lambda r: type(r).__name__)


def _doubled(value: int) -> int:
    return value * 2


def _never_called(value: object) -> Never:
    raise AssertionError(f"called with {value!r}")


class TestSuccess:
    def test_holds_its_result(self) -> None:
        assert Success.with_result(2).result == 2

    def test_naming_an_error_type_changes_nothing_else(self) -> None:
        success = Success.with_result(2).then_enqueue(MAIL).with_effects(NOTE)
        assert success.for_error(str) == success
        assert success.for_empty_error() == success

    def test_may_have_nothing_to_tell(self) -> None:
        assert Success.with_empty_result() == Success.with_result(Empty())


class TestFailure:
    def test_holds_its_error_and_leaves_retrying_to_the_policy(self) -> None:
        failure = Failure.with_error("late")
        assert (failure.error, failure.retry) == ("late", None)

    @pytest.mark.parametrize(
        "failure",
        [
            Failure.for_result(int).with_error(Empty()),
            Failure.for_result(int).with_empty_error(),
            Failure.for_empty_result().with_error(Empty()),
            Failure.for_empty_result().with_empty_error(),
            Failure.with_empty_error(),
        ],
    )
    def test_naming_a_result_type_changes_nothing(self, failure: Failure[object, object]) -> None:
        assert failure == Failure.with_error(Empty())

    def test_can_be_final(self) -> None:
        assert Failure.with_error("late").final().retry is Final.FINAL

    @pytest.mark.parametrize("delay", [timedelta(0), SECOND])
    def test_can_ask_for_a_retry_after_a_delay(self, delay: timedelta) -> None:
        assert Failure.for_result(int).with_error("late").retry_after(delay).retry == delay

    def test_the_last_wish_for_a_retry_counts(self) -> None:
        assert Failure.with_error("late").retry_after(SECOND).final().retry is Final.FINAL
        assert Failure.with_error("late").final().retry_after(SECOND).retry == SECOND

    def test_refuses_to_retry_in_the_past(self) -> None:
        with pytest.raises(ValueError, match=r"retry_after\(\) needs a delay of zero or more, got .*days=-1"):
            Failure.with_error("late").retry_after(-SECOND)


class TestSuspended:
    def test_without_anything_keeps_the_execution_metadata_and_waits_to_be_proceeded(self) -> None:
        suspended = Suspended()
        assert (suspended.execution_metadata, suspended.wake) == (Unchanged.UNCHANGED, None)

    @pytest.mark.parametrize(
        "suspended",
        [
            Suspended.for_result(int).for_error(str),
            Suspended.for_result(int).for_empty_error(),
            Suspended.for_empty_result().for_error(str),
            Suspended.for_empty_result().for_empty_error(),
        ],
    )
    def test_naming_types_changes_nothing(self, suspended: Suspended[object, object]) -> None:
        assert suspended == Suspended()

    @pytest.mark.parametrize(
        "suspended",
        [
            Suspended(7),
            Suspended.with_execution_metadata(7).for_result(int).for_error(str),
            Suspended.with_execution_metadata(7).for_result(int).for_empty_error(),
            Suspended.with_execution_metadata(7).for_empty_result().for_error(str),
            Suspended.with_execution_metadata(7).for_empty_result().for_empty_error(),
        ],
    )
    def test_can_carry_the_next_execution_metadata(self, suspended: Suspended[object, object, int]) -> None:
        assert suspended.execution_metadata == 7

    def test_none_is_an_execution_metadata_like_any_other(self) -> None:
        assert Suspended(None) != Suspended()

    def test_can_resume_at_an_instant_in_any_zone(self) -> None:
        rome = NOON.astimezone(timezone(HOUR))
        assert Suspended().until(rome).wake == NOON

    @pytest.mark.parametrize("delay", [timedelta(0), HOUR])
    def test_can_resume_after_a_delay(self, delay: timedelta) -> None:
        assert Suspended().after(delay).wake == delay

    def test_can_resume_at_once(self) -> None:
        assert Suspended().at_once().wake is Wake.AT_ONCE

    def test_can_wait_for_what_it_enqueues(self) -> None:
        suspended = Suspended().then_enqueue(MAIL).until_finished()
        assert (suspended.wake, suspended.follow_ups) == (Wake.UNTIL_FINISHED, (MAIL,))

    def test_the_last_wake_up_counts_and_the_execution_metadata_stays(self) -> None:
        assert Suspended(7).after(HOUR).until(NOON) == Suspended(7, NOON)

    def test_refuses_an_instant_without_a_time_zone(self) -> None:
        with pytest.raises(ValueError, match=r"until\(\) needs an aware datetime, .* has no time zone"):
            Suspended().until(NOON.replace(tzinfo=None))

    def test_refuses_to_resume_in_the_past(self) -> None:
        with pytest.raises(ValueError, match=r"after\(\) needs a delay of zero or more"):
            Suspended().after(-SECOND)


class TestCancellation:
    def test_holds_its_error(self) -> None:
        assert Cancellation.with_error("moot").error == "moot"

    @pytest.mark.parametrize(
        "cancellation",
        [
            Cancellation.for_result(int).with_error(Empty()),
            Cancellation.for_result(int).with_empty_error(),
            Cancellation.for_empty_result().with_error(Empty()),
            Cancellation.for_empty_result().with_empty_error(),
            Cancellation.with_empty_error(),
        ],
    )
    def test_naming_a_result_type_changes_nothing(self, cancellation: Cancellation[object, object]) -> None:
        assert cancellation == Cancellation.with_error(Empty())


class TestAlgebra:
    def test_map_changes_the_result_of_a_success_only(self) -> None:
        assert SUCCESS.map(_doubled) == Success(4)
        for other in (SUSPENDED, FAILURE, CANCELLATION):
            assert other.map(_never_called) == other

    def test_alt_changes_the_error_of_a_failure_and_of_a_cancellation_only(self) -> None:
        assert FAILURE.alt(str.upper) == Failure("LATE", SECOND)
        assert CANCELLATION.alt(str.upper) == Cancellation("MOOT")
        for other in (SUCCESS, SUSPENDED):
            assert other.alt(_never_called) == other

    @FOUR
    def test_bind_goes_on_from_a_success_to_any_result(self, result: TaskResult[int, str, float]) -> None:
        assert SUCCESS.bind(lambda _: result) == result

    def test_bind_leaves_all_but_a_success_alone(self) -> None:
        for other in (SUSPENDED, FAILURE, CANCELLATION):
            assert other.bind(_never_called) == other

    @FOUR
    def test_lash_recovers_from_a_failure_to_any_result(self, result: TaskResult[int, str, float]) -> None:
        assert FAILURE.lash(lambda _: result) == result

    def test_lash_leaves_all_but_a_failure_alone_so_a_cancellation_too(self) -> None:
        for other in (SUCCESS, SUSPENDED, CANCELLATION):
            assert other.lash(_never_called) == other

    def test_swap_exchanges_success_and_failure_and_drops_the_retry_hint(self) -> None:
        assert SUCCESS.swap() == Failure(2)
        assert FAILURE.swap() == Success("late")
        assert FAILURE.swap().swap() == Failure("late")

    def test_swap_leaves_the_other_two(self) -> None:
        assert SUSPENDED.swap() == Suspended(0.5, HOUR)
        assert CANCELLATION.swap() == Cancellation("moot")

    def test_apply_calls_the_function_that_another_result_holds(self) -> None:
        assert SUCCESS.apply(Success(_doubled)) == Success(4)
        assert SUCCESS.apply(Failure.with_error("no function")) == Failure("no function")
        assert FAILURE.apply(Success(_doubled)) == FAILURE

    def test_value_or_gives_the_result_of_a_success_else_the_default(self) -> None:
        assert SUCCESS.value_or(None) == 2
        for other in (SUSPENDED, FAILURE, CANCELLATION):
            assert other.value_or(None) is None

    def test_the_spellings_of_returns_make_a_success_and_a_failure(self) -> None:
        assert TaskValue.from_value(2) == Success(2)
        assert TaskValue.from_failure("late") == Failure("late")

    @FOUR
    def test_one_match_tells_the_four_apart(self, result: TaskResult[int, str, float]) -> None:
        match result:
            case Success(result=value):
                said = f"done {value}"
            case Suspended(execution_metadata=progress):
                said = f"parked at {progress}"
            case Failure(error=error):
                said = f"failed {error}"
            case Cancellation(error=error):
                said = f"gave up {error}"
            case _:
                assert_never(result)
        assert said in ("done 2", "parked at 0.5", "failed late", "gave up moot")


class TestBridgeToReturns:
    def test_a_success_becomes_a_success(self) -> None:
        assert SUCCESS.to_result() == ReturnsSuccess(2)

    def test_the_other_three_become_a_failure_that_holds_them(self) -> None:
        for other in (SUSPENDED, FAILURE, CANCELLATION):
            assert other.to_result() == ReturnsFailure(other)

    @pytest.mark.parametrize("convert", [from_result, TaskValue.from_result])
    def test_both_results_of_returns_become_ours(
        self, convert: Callable[[Result[int, str]], TaskResult[int, str]]
    ) -> None:
        assert convert(ReturnsSuccess(2)) == Success(2)
        assert convert(ReturnsFailure("late")) == Failure("late")

    def test_bind_result_goes_on_with_a_function_of_returns(self) -> None:
        assert SUCCESS.bind_result(lambda n: ReturnsSuccess(n + 1)) == Success(3)
        assert SUCCESS.bind_result(lambda n: ReturnsFailure(f"{n} is odd")) == Failure("2 is odd")
        assert CANCELLATION.bind_result(_never_called) == CANCELLATION

    def test_what_is_not_a_result_of_returns_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"expected a returns\.Result, got 2"):
            from_result(cast("Any", 2))


class TestCarrying:
    def test_follow_ups_and_effects_gather_in_the_order_said(self) -> None:
        success = Success(2).then_enqueue(MAIL).with_effects(NOTE).then_enqueue(BILL, MAIL).with_effects(DROP)
        assert success.follow_ups == (MAIL, BILL, MAIL)
        assert success.effects == (NOTE, DROP)

    @FOUR
    def test_every_result_can_carry_and_stays_what_it_was(self, result: TaskResult[int, str, float]) -> None:
        carrying = result.then_enqueue(MAIL).with_effects(NOTE)
        assert type(carrying) is type(result)
        assert (carrying.follow_ups, carrying.effects) == ((MAIL,), (NOTE,))
        assert (result.follow_ups, result.effects) == ((), ())

    @FOUR
    def test_what_is_carried_survives_a_change_of_what_is_said(self, result: TaskResult[int, str, float]) -> None:
        carrying = result.then_enqueue(MAIL).with_effects(NOTE)
        for changed in (carrying.map(_doubled), carrying.alt(str.upper), carrying.swap(), carrying.swap().swap()):
            assert (changed.follow_ups, changed.effects) == ((MAIL,), (NOTE,))

    @FOUR
    def test_bind_puts_what_came_earlier_first(self, result: TaskResult[int, str, float]) -> None:
        bound = Success(1).then_enqueue(MAIL).with_effects(NOTE).bind(
            lambda _: result.then_enqueue(BILL).with_effects(DROP)
        )  # fmt: skip
        assert (bound.follow_ups, bound.effects) == ((MAIL, BILL), (NOTE, DROP))

    @FOUR
    def test_lash_puts_what_came_earlier_first(self, result: TaskResult[int, str, float]) -> None:
        failure = Failure("late").then_enqueue(MAIL).with_effects(NOTE)
        lashed = failure.lash(lambda _: result.then_enqueue(BILL).with_effects(DROP))
        assert (lashed.follow_ups, lashed.effects) == ((MAIL, BILL), (NOTE, DROP))

    def test_bind_and_lash_keep_the_hint_and_the_wake_up_of_what_follows(self) -> None:
        earlier = Success(1).then_enqueue(MAIL)
        assert earlier.bind(lambda _: FAILURE) == Failure("late", SECOND).then_enqueue(MAIL)
        assert earlier.bind(lambda _: SUSPENDED) == Suspended(0.5, HOUR).then_enqueue(MAIL)

    def test_a_follow_up_that_rejects_a_conflict_is_refused_when_the_result_is_built(self) -> None:
        with pytest.raises(ValueError, match="a follow-up cannot use REJECT, it would have nobody to refuse to"):
            Success(2).then_enqueue(MAIL, Request("pay", rejects_conflict=True))


class TestValues:
    @FOUR
    def test_results_are_equal_by_what_they_say_and_carry(self, result: TaskResult[int, str, float]) -> None:
        assert copy.copy(result) == result
        assert result.then_enqueue(MAIL) == result.then_enqueue(MAIL)
        assert result.then_enqueue(MAIL) != result
        assert result.with_effects(NOTE) != result

    def test_the_four_are_never_equal_to_each_other(self) -> None:
        assert len({Success(1), Suspended(1), Failure(1), Cancellation(1)}) == 4

    def test_hints_and_wake_ups_count_for_equality(self) -> None:
        assert Failure(1).final() != Failure(1)
        assert Suspended(1).at_once() != Suspended(1)

    @FOUR
    def test_equal_results_have_one_hash(self, result: TaskResult[int, str, float]) -> None:
        carrying = result.then_enqueue(MAIL).with_effects(NOTE)
        assert len({carrying, copy.deepcopy(carrying)}) == 1

    @FOUR
    def test_a_result_survives_pickling(self, result: TaskResult[int, str, float]) -> None:
        carrying = result.then_enqueue(MAIL).with_effects(NOTE)
        assert pickle.loads(pickle.dumps(carrying)) == carrying

    def test_marks_are_still_the_same_after_pickling(self) -> None:
        assert pickle.loads(pickle.dumps(Failure(1).final())).retry is Final.FINAL
        assert pickle.loads(pickle.dumps(Suspended().at_once())).wake is Wake.AT_ONCE
        assert pickle.loads(pickle.dumps(Suspended())).execution_metadata is Unchanged.UNCHANGED

    @FOUR
    def test_a_result_cannot_be_changed_nor_extended(self, result: TaskResult[int, str, float]) -> None:
        with pytest.raises(FrozenInstanceError):
            cast("Any", result).follow_ups = (MAIL,)
        assert not hasattr(result, "__dict__")

    def test_reprs_name_the_class_and_only_what_was_said(self) -> None:
        assert repr(Success(2)) == "Success(result=2)"
        assert repr(Success(None)) == "Success(result=None)"
        assert repr(Suspended()) == "Suspended()"
        assert repr(Suspended(7).at_once()) == "Suspended(execution_metadata=7, wake=<Wake.AT_ONCE: 'at once'>)"
        assert repr(Failure("late")) == "Failure(error='late')"
        assert repr(Cancellation("moot").then_enqueue(MAIL)) == (
            "Cancellation(error='moot', follow_ups=(Request(name='mail', rejects_conflict=False),))"
        )
        assert repr(Empty()) == "Empty()"

    def test_empty_equals_empty(self) -> None:
        assert Empty() == Empty()
        assert hash(Empty()) == hash(Empty())


class TestUnfinishedBuilders:
    @pytest.mark.parametrize(
        "unfinished",
        [
            Failure.for_result(int),
            Cancellation.for_result(int),
            Suspended.for_result(int),
            Suspended.with_execution_metadata(7),
            Suspended.with_execution_metadata(7).for_result(int),
        ],
    )
    def test_an_unfinished_builder_is_not_a_result(self, unfinished: Any) -> None:
        assert not isinstance(unfinished, TaskValue)
        with pytest.raises(TypeError, match="an unfinished builder is not a result"):
            SUCCESS.bind(lambda _: unfinished)
        with pytest.raises(TypeError, match="an unfinished builder is not a result"):
            FAILURE.lash(lambda _: unfinished)

    def test_a_bare_value_is_not_a_result(self) -> None:
        with pytest.raises(TypeError, match="expected one of the four task results, got 4"):
            SUCCESS.bind(cast("Any", _doubled))
