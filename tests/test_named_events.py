"""A named event agrees with itself on what can be sent and how it is read, and results can wait for it."""

from __future__ import annotations

import pickle
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from attrs import field, frozen

from milepost import (
    BlockingExecution,
    Execution,
    InvalidPayload,
    NamedEvent,
    Success,
    Suspended,
    TaskDefinitionError,
    TaskResult,
    TaskState,
    secret,
    task,
)
from milepost.results import UntilEvent
from milepost.tasks.named_event import named
from milepost.testing import recorded_execution

HOUR = timedelta(hours=1)


@frozen
class Payment:
    cents: int
    at: datetime | None = None
    card: str = field(default="", repr=secret)


PAID = NamedEvent("paid", Payment)
NOTE = NamedEvent("note", str | None)


class TestNamedEvent:
    def test_gives_back_what_was_written(self) -> None:
        payment = Payment(700, card="4111")
        assert PAID.read(PAID.write(payment)) == payment
        assert PAID.write(payment) == '{"at":null,"card":"4111","cents":700}'

    def test_is_equal_to_another_of_its_name_and_type(self) -> None:
        others: list[NamedEvent[Any]] = [NamedEvent("paid", int), NamedEvent("refunded", Payment)]
        assert NamedEvent("paid", Payment) == PAID
        assert PAID not in others
        assert len({PAID, NamedEvent("paid", Payment), NamedEvent("refunded", Payment)}) == 2
        assert repr(NamedEvent("note", str)) == "NamedEvent(name='note', payload=<class 'str'>)"

    @pytest.mark.parametrize("name", ["", "a b", "a\0b", "x" * 201, None, 7])
    def test_refuses_what_is_no_name(self, name: Any) -> None:
        with pytest.raises(TaskDefinitionError, match=r"the name of an event .* is not a name: use 1 to 200 letters"):
            NamedEvent(name, int)

    def test_refuses_a_type_that_cannot_be_stored(self) -> None:
        with pytest.raises(TaskDefinitionError, match=r"the event 'paid' has a payload that cannot be .*complex"):
            NamedEvent("paid", complex)

    def test_refuses_to_write_what_is_not_of_its_type_and_says_where(self) -> None:
        with pytest.raises(InvalidPayload, match=r"the payload of the event 'paid' cannot be stored: \$\.cents: "):
            PAID.write(Payment(cast("Any", "700")))

    def test_refuses_none_which_is_what_a_wait_in_vain_gives(self) -> None:
        assert NOTE.read(NOTE.write("")) == ""
        with pytest.raises(InvalidPayload, match="the payload of the event 'note' is None, which stands for no event"):
            NOTE.write(None)
        with pytest.raises(InvalidPayload, match="is None"):
            named("note").write(None)

    def test_refuses_to_read_what_another_type_has_written_and_says_where(self) -> None:
        with pytest.raises(InvalidPayload, match=r"what came with the event 'paid' cannot be read: \$"):
            PAID.read(named("paid").write({"euros": 7}))

    def test_of_a_bare_name_takes_any_json(self) -> None:
        event = named("paid")
        assert event.read(event.write({"b": [1, 2.5, None], "a": True})) == {"a": True, "b": [1, 2.5, None]}
        assert named("paid") is event
        assert named(PAID) is PAID

    def test_is_told_from_what_is_none(self) -> None:
        with pytest.raises(TaskDefinitionError, match="an event is a NamedEvent, or the name of one as text, got 7"):
            named(cast("Any", 7))


class TestUntilEvent:
    def test_waits_for_the_event_by_its_name(self) -> None:
        assert Suspended().until_event(PAID, "order 7").wake == UntilEvent("paid", "order 7")
        assert Suspended().until_event("paid", "order 7", within=HOUR).wake == UntilEvent("paid", "order 7", HOUR)

    def test_is_the_last_wake_up_and_keeps_the_execution_metadata(self) -> None:
        suspended = Suspended.with_execution_metadata(7).for_result(int).for_error(str)
        assert suspended.after(HOUR).until_event(PAID, "7") == Suspended(7, UntilEvent("paid", "7"))
        assert suspended.until_event(PAID, "7").after(HOUR) == Suspended(7, HOUR)

    def test_goes_to_another_process_and_back(self) -> None:
        suspended = Suspended(7).until_event(PAID, "7", within=HOUR)
        assert pickle.loads(pickle.dumps(suspended)) == suspended

    @pytest.mark.parametrize("name", ["", "a b", "x" * 201])
    def test_refuses_what_is_no_name(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"until_event\(\) needs an event or its name, 1 to 200 letters"):
            Suspended().until_event(name, "7")

    @pytest.mark.parametrize("event", [None, 7, Payment, TaskState.RUNNING])
    def test_refuses_what_is_no_event_though_it_may_have_a_name(self, event: Any) -> None:
        with pytest.raises(ValueError, match=r"until_event\(\) needs an event or its name, 1 to 200 letters"):
            Suspended().until_event(event, "7")

    @pytest.mark.parametrize("key", ["", "a\0b", "\ud800", "x" * 201, 7, None])
    def test_refuses_what_is_no_key(self, key: Any) -> None:
        with pytest.raises(ValueError, match=r"until_event\(\) needs a key, 1 to 200 characters of text, got "):
            Suspended().until_event(PAID, key)

    @pytest.mark.parametrize("within", [timedelta(0), -HOUR, 60, "1h"])
    def test_refuses_what_is_no_time_or_over_at_once(self, within: Any) -> None:
        with pytest.raises(ValueError, match=r"until_event\(\) needs a time above zero, or None to wait for ever"):
            Suspended().until_event(PAID, "7", within=within)


@task
async def settle(order: str, step: int, execution: Execution[int]) -> TaskResult[int, str]:
    payment = execution.received(PAID)
    if payment is not None:
        return Success.with_result(payment.cents)
    return Suspended.for_result(int).for_error(str).until_event(PAID, order)


@task(blocking=True)
def settle_in_a_thread(order: str, step: int, execution: BlockingExecution[int]) -> TaskResult[int, str]:
    payment = execution.received(PAID)
    return Suspended().until_event(PAID, order) if payment is None else Success.with_result(payment.cents)


class TestRecordedExecution:
    async def test_has_received_nothing_unless_the_test_says_so(self) -> None:
        execution = recorded_execution(0)
        waits = Suspended().until_event(PAID, "order 7")
        assert await settle("order 7", 0, execution) == waits
        assert settle_in_a_thread("order 7", 0, execution.blocking) == waits

    @pytest.mark.parametrize("received", [(PAID, Payment(700)), ("paid", {"cents": 700})])
    async def test_has_received_what_the_test_says(self, received: Any) -> None:
        execution = recorded_execution(0, received=received)
        assert await settle("order 7", 0, execution) == Success.with_result(700)
        assert settle_in_a_thread("order 7", 0, execution.blocking) == Success.with_result(700)
        assert execution.received("paid")["cents"] == 700
        assert execution.received(NOTE) is None

    def test_refuses_what_could_not_have_been_sent(self) -> None:
        with pytest.raises(InvalidPayload, match=r"\$\.cents"):
            recorded_execution(0, received=(PAID, Payment(cast("Any", "700"))))
