"""A typed function becomes a task, and a task with metadata a request; whatever could not work is told at once."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Never, TypeVar, cast

import attrs
import pytest
from attrs import define, field, frozen
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure as Refused

from milepost import (
    REJECT,
    Audit,
    BlockingExecution,
    Cancellation,
    Empty,
    Execution,
    Failure,
    Json,
    Retry,
    Success,
    Suspended,
    Task,
    TaskDefinitionError,
    TaskRequest,
    TaskResult,
    task,
)
from milepost.lifecycle.draft import Draft
from milepost.registry import Registry
from milepost.tasks import TaskShape

F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Order:
    id: int


@frozen
class Progress:
    page: int = 0


@frozen
class Strict:
    page: int


@frozen
class Refusing:
    page: int = field(default=-1)

    def __attrs_post_init__(self) -> None:
        raise ValueError("no page")


@frozen
class Receipt:
    total: int


@frozen
class Declined:
    reason: str


Answer = TaskResult[Receipt, Declined]
DONE = Success.with_result(Receipt(1)).for_error(Declined)


@task
def pure(metadata: Order, progress: Progress) -> TaskResult[Receipt, Declined]:
    return DONE


@task(name="asynchronous", version=3, queue="bulk", priority=-5, timeout_seconds=1.5, deadline_seconds=60)
async def with_options(metadata: Order, progress: Progress) -> TaskResult[Receipt, Declined]:
    return DONE


@task()
async def committing(
    metadata: Order, progress: Progress, execution: Execution[Progress]
) -> TaskResult[Receipt, Declined]:
    await execution.commit(Progress(1))
    return DONE


@task(blocking=True)
def blocking(metadata: Order, progress: Progress) -> TaskResult[Receipt, Declined]:
    return DONE


@task(blocking=True)
def blocking_committing(
    metadata: Order, progress: Progress, execution: BlockingExecution[Progress]
) -> TaskResult[Receipt, Declined]:
    execution.commit(Progress(1))
    return DONE


@task(cpu_bound=True)
def heavy(metadata: Order, progress: Progress) -> TaskResult[Receipt, Declined]:
    return DONE


def refusal(function: Any, **options: Any) -> str:
    """What `task` says of a definition that it refuses."""
    with pytest.raises(TaskDefinitionError) as raised:
        task(**options)(function) if options else task(function)
    return str(raised.value)


@pytest.mark.parametrize(
    ("defined", "shape", "takes_execution"),
    [
        (pure, TaskShape.PURE, False),
        (with_options, TaskShape.ASYNC, False),
        (committing, TaskShape.ASYNC, True),
        (blocking, TaskShape.BLOCKING, False),
        (blocking_committing, TaskShape.BLOCKING, True),
        (heavy, TaskShape.CPU_BOUND, False),
    ],
)
def test_the_shape_is_told_from_the_signature(
    defined: Task[Order, Progress, Receipt, Declined], shape: TaskShape, takes_execution: bool
) -> None:
    assert (defined.shape, defined.takes_execution) == (shape, takes_execution)
    types = defined.types
    assert (types.metadata, types.execution_metadata) == (Order, Progress)
    assert (types.result, types.error) == (Receipt, Declined)


async def test_a_task_is_called_exactly_as_its_function_was_written() -> None:
    assert pure(Order(1), Progress()) == DONE
    assert await with_options(Order(1), Progress()) == DONE


def test_options_and_their_defaults() -> None:
    assert (pure.name, pure.version, pure.queue, pure.priority, pure.audit) == ("pure", 1, "default", 0, None)
    assert pure.timeout_seconds is None
    assert pure.deadline_seconds is None
    assert pure.retry.times == Retry.default().times
    assert (with_options.name, with_options.version, with_options.queue) == ("asynchronous", 3, "bulk")
    assert (with_options.priority, with_options.timeout_seconds, with_options.deadline_seconds) == (-5, 1.5, 60)
    assert repr(with_options) == "<Task 'asynchronous' version 3, async>"


def test_a_task_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        pure.name = "other"  # type: ignore[misc]


# Where annotations are looked up.


def test_annotations_may_name_what_only_the_caller_of_task_knows() -> None:
    @frozen
    class Line:
        amount: int

    @frozen
    class Bill:
        lines: list[Line]
        parent: Bill | None = None

    @task
    def bill(metadata: Bill, progress: Progress) -> TaskResult[Line, Declined]:
        return Success.with_result(metadata.lines[0])

    value = Bill([Line(1)], Bill([]))
    assert bill.types.metadata is Bill
    assert bill.codec.metadata.decode(bill.codec.metadata.encode(value).unwrap()).unwrap() == value


def test_annotations_may_name_what_is_in_the_closure() -> None:
    def tasks(kind: type[Any]) -> Task[Any, Any, Any, Any]:
        @frozen
        class Wanted:
            n: int

        def make() -> Task[Any, Any, Any, Any]:
            @task
            def closed(metadata: Wanted, progress: Progress) -> TaskResult[int, str]:
                return Success.with_result(Wanted(kind()).n)

            return closed

        return make()

    assert tasks(int).types.metadata.__name__ == "Wanted"


def test_a_task_in_a_closure_may_name_itself() -> None:
    def tasks() -> Task[Any, Any, Any, Any]:
        @task
        def again(metadata: Order, progress: Progress) -> TaskResult[int, str]:
            return Success.with_result(1).for_error(str).then_enqueue(again.with_metadata(metadata))

        return again

    assert tasks().name == "again"


def test_a_local_class_goes_before_one_of_the_module() -> None:
    @frozen
    class Order:
        other: str

    @task
    def local(metadata: Order, progress: Progress) -> TaskResult[int, str]:
        return Success.with_result(1)

    assert attrs.fields(local.types.metadata).other


def _written_here(metadata: Order, progress: Progress) -> TaskResult[int, str]:
    return Success.with_result(metadata.id)


def test_a_function_of_the_module_means_the_classes_of_its_module_whoever_makes_it_a_task() -> None:
    wanted = Order

    def elsewhere() -> Task[Any, Any, Any, Any]:
        class Order:
            pass

        assert Order.__name__ == wanted.__name__
        return task(_written_here)

    assert elsewhere().types.metadata is wanted


def test_any_json_may_be_metadata() -> None:
    @task
    def loose(metadata: Json, progress: Json) -> TaskResult[Json, str]:
        return Success.with_result(metadata)

    assert loose.codec.metadata.encode({"a": [1, None]}).unwrap() == '{"a":[1,null]}'


def test_results_of_one_kind_only_declare_no_error() -> None:
    @task
    def never_fails(metadata: Empty, progress: Empty) -> Success[int]:
        return Success.with_result(1)

    @task
    def always_fails(metadata: Empty, progress: Empty) -> Failure[Never, str] | Cancellation[Never, Declined]:
        return Failure.with_error("no")

    assert (never_fails.types.result, never_fails.types.error) == (int, Never)
    assert (always_fails.types.result, always_fails.types.error) == (Never, str | Declined)


# What is called.


class Importer:
    def run(self, metadata: Order, progress: Progress) -> TaskResult[int, str]:
        return Success.with_result(metadata.id)

    async def walk(self, metadata: Order, progress: Progress, execution: Execution[Progress]) -> TaskResult[int, str]:
        return Success.with_result(metadata.id)


class Calling:
    def __call__(self, metadata: Order, progress: Progress) -> TaskResult[int, str]:
        return Success.with_result(metadata.id)


class CallingLater:
    async def __call__(self, metadata: Order, progress: Progress) -> TaskResult[int, str]:
        return Success.with_result(metadata.id)


def multiply(factor: int, metadata: Order, progress: Progress) -> TaskResult[int, str]:
    return Success.with_result(factor * metadata.id)


def test_bound_methods_callable_objects_and_partials_are_functions_too() -> None:
    method = task(Importer().run)
    assert method.name == "run"
    assert method(Order(7), Progress()) == Success.with_result(7)
    assert task(Importer().walk).takes_execution
    assert task(name="calling")(Calling())(Order(7), Progress()) == Success.with_result(7)
    later: Any = CallingLater()
    define: Any = task
    assert define(name="later")(later).shape is TaskShape.ASYNC
    part: Any = functools.partial(multiply, 6)
    doubled = define(name="partial")(part)
    assert doubled(Order(7), Progress()) == Success.with_result(42)
    assert doubled.types.metadata is Order


@pytest.mark.parametrize(
    "function",
    [functools.partial(multiply, 6), Calling()],
    ids=["partial", "object"],
)
def test_what_has_no_name_of_its_own_needs_one(function: Any) -> None:
    assert refusal(function) == f"{function!r} has no name of its own: write @task(name=...)"


# What is refused.


def annotated(**changes: object) -> Callable[[F], F]:
    """Other annotations than those that the type checkers see; None takes one away."""

    def change(function: F) -> F:
        for name, annotation in changes.items():
            name = name.removesuffix("_")
            if annotation is None:
                del function.__annotations__[name]
            else:
                function.__annotations__[name] = annotation
        return function

    return change


@annotated(metadata=None)
def _parameter_missing(metadata: Order, progress: Progress) -> Answer:
    return DONE


@annotated(progress=None)
def _second_missing(metadata: Order, progress: Progress) -> Answer:
    return DONE


def _too_few(metadata: Order) -> Answer:
    return DONE


def _too_many(a: Order, b: Progress, c: int, d: int) -> Answer:
    return DONE


def _none_at_all() -> Answer:
    return DONE


def _keyword_only(metadata: Order, progress: Progress, *, flag: bool) -> Answer:
    return DONE


def _open(metadata: Order, progress: Progress, *rest: int) -> Answer:
    return DONE


@annotated(return_=None)
def _no_return(metadata: Order, progress: Progress) -> Answer:
    return DONE


def _none_return(metadata: Order, progress: Progress) -> None:
    return None


@annotated(return_="TaskResult")
def _bare(metadata: Order, progress: Progress) -> Answer:
    return DONE


@annotated(return_="Success")
def _bare_success(metadata: Order, progress: Progress) -> Answer:
    return DONE


def _wrong_return(metadata: Order, progress: Progress) -> int:
    return 1


def _other_suspended(metadata: Order, progress: Progress) -> TaskResult[int, str, Order]:
    return Suspended(Order(1))


async def _other_execution(m: Order, p: Progress, execution: Execution[Order]) -> Answer:
    return DONE


async def _bare_execution(m: Order, p: Progress, execution: Any) -> Answer:
    return DONE


@annotated(execution=None)
async def _no_execution(m: Order, p: Progress, execution: Any) -> Answer:
    return DONE


async def _blocking_twin(m: Order, p: Progress, execution: BlockingExecution[Progress]) -> Answer:
    return DONE


def _plain_with_execution(m: Order, p: Progress, execution: Execution[Progress]) -> Answer:
    return DONE


def _complex(metadata: list[dict[str, complex]], progress: Progress) -> Answer:
    return DONE


def _complex_error(metadata: Order, progress: Progress) -> TaskResult[Receipt, Declined | complex]:
    return DONE


@annotated(metadata="Nowhere")
def _unknown(metadata: Order, progress: Progress) -> Answer:
    return DONE


@annotated(metadata="7")
def _not_a_type(metadata: Order, progress: Progress) -> Answer:
    return DONE


@frozen
class Inner:
    value: complex


@frozen
class Outer:
    inner: list[Inner]


def _deep(metadata: Outer, progress: Progress) -> Answer:
    return DONE


_TAKES = "a task takes (metadata, execution_metadata) or (metadata, execution_metadata, execution)"
_RETURNS = "write -> TaskResult[YourResult, YourError]"
UNRESOLVED = (
    "has an annotation that cannot be resolved (name 'Nowhere' is not defined): import or define that name before it"
)
_INSTEAD = "use an attrs class, a scalar, a list, a tuple or a mapping"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            _parameter_missing,
            "has no annotation on 'metadata': write the type of the metadata, an attrs class or Empty",
        ),
        (
            _second_missing,
            "has no annotation on 'progress': write the type of the execution metadata, an attrs class or Empty",
        ),
        (_too_few, f"takes 1 parameters: {_TAKES}; use Empty for what it does not need"),
        (_too_many, f"takes 4 parameters: {_TAKES}; use Empty for what it does not need"),
        (_none_at_all, f"takes 0 parameters: {_TAKES}; use Empty for what it does not need"),
        (
            _keyword_only,
            f"has the parameter flag: 'bool', which nobody would fill: {_TAKES}; use a closure for the rest",
        ),
        (_open, f"has the parameter *rest: 'int', which nobody would fill: {_TAKES}; use a closure for the rest"),
        (_no_return, f"has no return annotation: {_RETURNS}"),
        (_none_return, f"returns NoneType: {_RETURNS}"),
        (_bare, f"returns a TaskResult without types: {_RETURNS}"),
        (_bare_success, f"returns a TaskResult without types: {_RETURNS}"),
        (_wrong_return, f"returns int: {_RETURNS}"),
        (
            _other_suspended,
            "may return Suspended with Order, its execution metadata is Progress: make them the same",
        ),
        (_no_execution, "needs the annotation Execution[Progress] on 'execution', got nothing"),
        (_bare_execution, "needs the annotation Execution[Progress] on 'execution', got Any"),
        (
            _plain_with_execution,
            "takes 'execution' but is a plain def, which can only return: make it an async def, or add blocking=True",
        ),
        (
            _complex,
            f"has a type of metadata that cannot be stored: [][]: complex cannot be stored as JSON: {_INSTEAD}",
        ),
        (
            _complex_error,
            f"has a type of error that cannot be stored: complex cannot be stored as JSON: {_INSTEAD}",
        ),
        (
            _deep,
            "has a type of metadata that cannot be stored: Outer.inner[].value: complex cannot be stored as JSON: "
            + _INSTEAD,
        ),
        (
            _unknown,
            UNRESOLVED,
        ),
    ],
)
def test_a_definition_that_could_not_work_is_refused_with_the_fix(function: Any, message: str) -> None:
    assert refusal(function) == f"the task {function.__name__} {message}"


@pytest.mark.parametrize(
    ("function", "wanted", "got"),
    [
        (_other_execution, "Execution[Progress]", "milepost.tasks.execution.Execution["),
        (_blocking_twin, "Execution[Progress]", "milepost.tasks.execution.BlockingExecution["),
    ],
)
def test_the_execution_must_be_of_the_same_execution_metadata(function: Any, wanted: str, got: str) -> None:
    said = refusal(function)
    assert said.startswith(f"the task {function.__name__} needs the annotation {wanted} on 'execution', got {got}")


def test_an_annotation_that_is_no_type_is_refused() -> None:
    assert refusal(_not_a_type).startswith("the task _not_a_type has ")


def test_a_blocking_task_cannot_be_async_and_a_cpu_bound_one_takes_no_execution() -> None:
    async def run(metadata: Order, progress: Progress) -> Answer:
        return DONE

    fix = "remove blocking=True or cpu_bound=True, or the async"
    said = f"the task {run.__qualname__} is an async def and cannot be blocking: {fix}"
    assert refusal(run, blocking=True) == refusal(run, cpu_bound=True) == said

    def work(m: Order, p: Progress, execution: BlockingExecution[Progress]) -> Answer:
        return DONE

    said = "a cpu_bound task runs in another process and cannot take an execution"
    assert refusal(work, cpu_bound=True) == said


def test_what_is_not_callable_is_refused() -> None:
    wrong: Any = "my-name"
    assert refusal(wrong) == "@task is for functions, got 'my-name'; options are given by name: @task(name=...)"


HOSTILE_NAMES = [
    "",
    "a" * 201,
    "../../etc/passwd",
    "a\0b",
    "a\n",
    "\x1b[31mred",
    "\u202egnp",
    "it's",
    '"; drop table milepost_task; --',
    "<script>",
    "é",
    "👩‍👩‍👧",
    "a b",
    "%s",
    "{0}",
    7,
    b"bytes",
    ["list"],
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_name_is_letters_digits_and_a_few_marks(name: Any) -> None:
    told = "is not a name: use 1 to 200 letters, digits, '_', '.', ':' or '-'"
    function = pure.function
    assert refusal(function, name=name).startswith("the name of a task ")
    assert refusal(function, queue=name).startswith("the queue ")
    assert refusal(function, name=name).endswith(told)
    assert refusal(function, name=name).isprintable()
    with pytest.raises(TaskDefinitionError, match="is not a name"):
        pure.with_metadata(Order(1)).in_queue(name)


@pytest.mark.parametrize("name", ["a", "a" * 200, "CON", "..", "-rf", "orders.v2:import_users-1", "select"])
def test_a_name_that_is_only_odd_is_taken(name: str) -> None:
    assert task(name=name)(pure.function).name == name
    assert pure.with_metadata(Order(1)).in_queue(name).queue == name


@pytest.mark.parametrize("seconds", [0, -1, -0.0, math.nan, math.inf, -math.inf, "5", True, timedelta(seconds=1)])
@pytest.mark.parametrize("option", ["timeout_seconds", "deadline_seconds"])
def test_a_limit_of_time_is_above_zero(option: str, seconds: Any) -> None:
    assert refusal(pure.function, **{option: seconds}) == f"{option} must be above 0, got {seconds!r}"


@pytest.mark.parametrize("priority", [2**31, -(2**31) - 1, 1.0, "1", True, None, 10**5_000], ids=range(7))
def test_a_priority_is_an_integer_of_32_bits(priority: Any) -> None:
    said = "a priority is an integer from -2147483648 to 2147483647, got "
    assert refusal(pure.function, priority=priority).startswith(said)
    with pytest.raises(TaskDefinitionError, match=said):
        pure.with_metadata(Order(1)).with_priority(priority)
    assert pure.with_metadata(Order(1)).with_priority(2**31 - 1).priority == 2**31 - 1


@pytest.mark.parametrize("version", [0, -1, 2**31, 1.0, "1", True])
def test_a_version_is_an_integer_from_one(version: Any) -> None:
    assert refusal(pure.function, version=version) == f"version is an integer from 1, got {version!r}"


def same(metadata: Json, progress: Json) -> tuple[Json, Json]:
    return metadata, progress


@pytest.mark.parametrize("upgrades", [{1: same}, {1: same, 3: same}, {3: same}, {0: same, 1: same, 2: same}])
def test_upgrades_lead_to_the_version_without_a_gap(upgrades: Any) -> None:
    assert refusal(pure.function, version=3, upgrades=upgrades) == (
        "upgrades must lead without a gap to version 3, one function for each version before it; "
        f"got upgrades from {sorted(upgrades)}"
    )


@pytest.mark.parametrize("upgrades", [{"1": same}, {1: 7}, {1: same, None: same}])
def test_upgrades_are_functions(upgrades: Any) -> None:
    said = refusal(pure.function, version=2, upgrades=upgrades)
    assert said == f"upgrades are functions by the version that they start from, got {upgrades!r}"


# Upgrades at work.


def _renamed(metadata: Any, progress: Any) -> tuple[Json, Json]:
    return {"id": metadata["number"]}, progress


def _paged(metadata: Any, progress: Any) -> tuple[Json, Json]:
    return metadata, {"page": progress["row"] // 10}


def versioned(version: int, upgrades: dict[int, Callable[[Json, Json], Any]]) -> Task[Any, Any, Any, Any]:
    made: Task[Any, Any, Any, Any] = task(name="versioned", version=version, upgrades=upgrades)(pure.function)
    return made


def refused(answer: Any) -> str:
    assert isinstance(answer, Refused)
    return str(cast("Any", answer).failure())


def test_an_old_row_is_brought_forward_step_by_step() -> None:
    current = versioned(3, {1: _renamed, 2: _paged})
    assert current.decode(1, '{"number":7}', '{"row":25}').unwrap() == (Order(7), Progress(2))
    assert current.decode(2, '{"id":7}', '{"row":25}').unwrap() == (Order(7), Progress(2))
    assert current.decode(3, '{"id":7}', '{"page":2}').unwrap() == (Order(7), Progress(2))


def test_a_row_without_an_upgrade_is_refused() -> None:
    current = versioned(3, {2: _paged})
    said = refused(current.decode(1, '{"id":7}', '{"row":1}'))
    assert said == "$: stored as version 1 and 'versioned' has no upgrade from 1"


def test_a_newer_row_is_refused() -> None:
    said = refused(versioned(2, {1: same}).decode(3, '{"id":7}', '{"page":1}'))
    assert said == "$: stored as version 3, this program knows 'versioned' up to 2"


def test_an_upgrade_that_raises_is_refused_with_what_it_said() -> None:
    def hostile(metadata: Json, progress: Json) -> tuple[Json, Json]:
        raise ValueError("bad\0\ud800")

    current = versioned(3, {1: _renamed, 2: hostile})
    assert refused(current.decode(1, "{}", "{}")) == "$: the upgrade from version 1 failed: KeyError: 'number'"
    said = "$: the upgrade from version 2 failed: ValueError: bad\\0\\ud800"
    assert refused(current.decode(2, "{}", "{}")) == said


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        (None, "$: the upgrade from version 1 failed: TypeError: cannot unpack non-iterable NoneType object"),
        (({"id": 1},), "$: the upgrade from version 1 failed: ValueError: not enough values to unpack"),
        (({"id": {1, 2}}, {"page": 0}), "upgraded metadata $.id: a set is not a JSON value"),
        (({"id": 1}, {"page": math.nan}), "upgraded execution metadata $.page: nan is not a JSON number"),
        (({"id": "7"}, {"page": 0}), "metadata $.id: expected int, got str '7'"),
        (({"id": 7}, {"row": 1}), "execution metadata $: has fields that Progress does not know: row"),
    ],
)
def test_an_upgrade_with_a_wrong_outcome_is_refused(output: Any, wanted: str) -> None:
    current = versioned(2, {1: lambda metadata, progress: output})
    assert refused(current.decode(1, "{}", "{}")).startswith(wanted)


@pytest.mark.parametrize("version", [1, 2])
def test_a_damaged_row_says_which_part_is_damaged(version: int) -> None:
    current = versioned(2, {1: same})
    assert refused(current.decode(version, "{", "{}")).startswith("metadata $: not JSON: ")
    assert refused(current.decode(version, '{"id":1}', "}")).startswith("execution metadata $: not JSON: ")


@given(st.text(max_size=20), st.text(max_size=20), st.integers(-1, 4))
def test_whatever_a_row_holds_it_is_decoded_or_refused(metadata: str, progress: str, version: int) -> None:
    answer = VERSIONED.decode(version, metadata, progress)
    refused(answer).encode()


VERSIONED = versioned(3, {1: _renamed, 2: _paged})


# Requests.


def drafted(request: TaskRequest[Any, Any, Any, Any], audit: Audit = Audit.TRANSITIONS) -> Draft:
    draft = request.draft(audit)
    assert isinstance(draft, Draft)
    return draft


def test_execution_metadata_starts_from_its_defaults() -> None:
    draft = drafted(pure.with_metadata(Order(1)))
    assert (draft.metadata_json, draft.execution_metadata_json) == ('{"id":1}', '{"page":0}')

    @task
    def plain(metadata: int, progress: int) -> Answer:
        return DONE

    @task
    def nothing(metadata: None, progress: None) -> Answer:
        return DONE

    @task
    def optional(metadata: Empty, progress: Progress | None) -> Answer:
        return DONE

    assert drafted(plain.with_metadata(1)).execution_metadata_json == "0"
    assert drafted(nothing.with_metadata(None)).execution_metadata_json == "null"
    given = optional.with_metadata(Empty()).with_execution_metadata(None)
    assert drafted(given).execution_metadata_json == "null"
    with pytest.raises(TaskDefinitionError, match="cannot start without execution metadata"):
        optional.with_metadata(Empty()).draft()


_numbers = itertools.count()


def _next_number(_: object = None) -> int:
    return next(_numbers)


@frozen
class ByFactory:
    """Counts in its default."""

    number: int = field(factory=_next_number)


@frozen
class ByConverter:
    """Counts as it converts its default."""

    number: int = field(default=0, converter=_next_number)


@define
class ByHook:
    """Counts after it was made."""

    number: int = 0

    def __attrs_post_init__(self) -> None:
        self.number = _next_number()


@define
class ByOwnInit:
    """Counts in an `__init__` of its own."""

    number: int = 0

    def __init__(self) -> None:
        self.number = _next_number()


class BySubclass(ByHook):
    """Inherits the counting."""


@pytest.mark.parametrize("kind", [ByFactory, ByConverter, ByHook, ByOwnInit, BySubclass])
def test_defaults_that_are_computed_are_computed_for_each_request(kind: Any) -> None:
    def function(metadata: Order, progress: Any) -> Answer:
        return DONE

    function.__annotations__["progress"] = kind
    counting = task(function)
    texts = {drafted(counting.with_metadata(Order(1))).execution_metadata_json for _ in range(3)}
    assert len(texts) == 3


@pytest.mark.parametrize("kind", [Strict, Refusing])
def test_execution_metadata_without_defaults_must_be_given(kind: Any) -> None:
    def function(metadata: Order, progress: Any) -> Answer:
        return DONE

    function.__annotations__["progress"] = kind
    needing = task(function)
    with pytest.raises(TaskDefinitionError) as raised:
        needing.with_metadata(Order(1)).draft()
    said = str(raised.value)
    assert said.startswith(f"'function' cannot start without execution metadata, {kind} has no defaults for all of it")
    assert said.endswith("add .with_execution_metadata(...) to the request")


def test_a_union_of_execution_metadata_has_no_default_and_says_only_that() -> None:
    def function(metadata: Order, progress: Progress | Strict) -> Answer:
        return DONE

    with pytest.raises(TaskDefinitionError, match=r" is a union and has no default: add \.with_execution_metadata"):
        task(function).with_metadata(Order(1)).draft()


def test_a_request_says_everything_that_the_draft_will() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    request = (
        pure.with_metadata(Order(1))
        .with_execution_metadata(Progress(7))
        .with_key("k", REJECT)
        .with_priority(3)
        .in_queue("slow")
        .at(moment)
        .with_correlation("order-42")
        .with_audit(Audit.NONE)
    )
    draft = drafted(request, Audit.FULL)
    record = draft.record(moment)
    assert (record.name, record.version, record.queue, record.priority) == ("pure", 1, "slow", 3)
    assert (record.key, draft.on_conflict, record.correlation) == ("k", REJECT, "order-42")
    assert (record.audit, record.due_at, record.execution_metadata_json) == (Audit.NONE, moment, '{"page":7}')
    assert request.rejects_conflict


def test_each_method_gives_a_copy_and_leaves_the_request_as_it_was() -> None:
    request = pure.with_metadata(Order(1))
    before = attrs.evolve(request)
    changed = [
        request.with_execution_metadata(Progress(1)),
        request.with_key("k"),
        request.with_priority(1),
        request.in_queue("q"),
        request.after(timedelta(1)),
        request.at(datetime(2030, 1, 1, tzinfo=UTC)),
        request.with_correlation("c"),
        request.with_audit(Audit.FULL),
    ]
    assert request == before
    assert all(each != request for each in changed)
    assert len({id(each) for each in changed}) == len(changed)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request.key = "other"  # type: ignore[misc]


def test_the_audit_of_the_request_goes_before_that_of_the_task_and_of_the_client() -> None:
    audited = task(name="audited", audit=Audit.ERRORS)(pure.function).with_metadata(Order(1))
    assert drafted(pure.with_metadata(Order(1)), Audit.NONE).audit is Audit.NONE
    assert drafted(audited, Audit.NONE).audit is Audit.ERRORS
    assert drafted(audited.with_audit(Audit.FULL), Audit.NONE).audit is Audit.FULL


def test_a_request_draws_a_new_id_for_each_draft() -> None:
    request = pure.with_metadata(Order(1))
    assert drafted(request).id != drafted(request).id


class Placeless(tzinfo):
    """A time zone that knows no offset."""

    def utcoffset(self, dt: datetime | None) -> None:
        return None

    dst = tzname = utcoffset


def test_a_start_is_not_negative_and_not_naive() -> None:
    request = pure.with_metadata(Order(1))
    with pytest.raises(ValueError, match=r"after\(\) needs a delay of zero or more"):
        request.after(timedelta(microseconds=-1))
    assert request.after(timedelta(0)).start == timedelta(0)
    for moment in (datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=Placeless())):
        with pytest.raises(ValueError, match=r"at\(\) needs an aware datetime"):
            request.at(moment)


@pytest.mark.parametrize("text", ["", "x" * 201, "a\0", "\ud800", 7, None, b"k"])
def test_a_key_and_a_correlation_are_text_that_every_database_holds(text: Any) -> None:
    request = pure.with_metadata(Order(1))
    with pytest.raises(TaskDefinitionError, match="a key is 1 to 200 characters of text, got "):
        request.with_key(text)
    with pytest.raises(TaskDefinitionError, match="a correlation is 1 to 200 characters of text, got "):
        request.with_correlation(text)
    assert request.with_key("é🛤'; --" + "x" * 190).key


def test_a_value_that_cannot_be_stored_is_a_refusal_that_names_the_part() -> None:
    wrong: Any = Order("1")  # type: ignore[arg-type]
    assert str(pure.with_metadata(wrong).draft()) == "metadata $.id: expected int, got str '1'"
    other: Any = Strict(1)
    said = pure.with_metadata(Order(1)).with_execution_metadata(other).draft()
    assert str(said) == "execution metadata $: expected Progress, got Strict Strict(page=1)"


def test_a_request_is_typed_by_its_task() -> None:
    request: TaskRequest[Order, Progress, Receipt, Declined] = pure.with_metadata(Order(1))
    assert request.task is pure


# The registry.


def test_a_registry_of_a_task_alone_is_refused_with_the_fix() -> None:
    wrong: Any = pure
    with pytest.raises(TaskDefinitionError, match=r"the tasks are given as a list, as \[task\], got <Task 'pure'"):
        Registry.of(wrong)


def test_a_registry_knows_tasks_by_name_and_version() -> None:
    registry = Registry.of([pure, with_options, pure])
    assert dict(registry.tasks) == {"pure": pure, "asynchronous": with_options}
    assert registry.versions == {"pure": 1, "asynchronous": 3}


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        Registry.of([pure, task(name="pure")(with_options.function)])
    assert str(raised.value) == (
        "two tasks have the name 'pure', and a stored row would not know which one is meant: give one of them another "
        "name=..."
    )


@pytest.mark.parametrize("wrong", [pure.function, "pure", None])
def test_what_is_not_a_task_is_refused(wrong: Any) -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        Registry.of([wrong])
    assert str(raised.value) == f"{wrong!r} is not a task: decorate the function with @task"


def test_a_suspended_may_carry_one_member_of_the_execution_metadata() -> None:
    @task
    def either(metadata: Order, progress: Progress | Strict) -> TaskResult[int, str, Strict]:
        return Suspended(Strict(1))

    assert either.types.execution_metadata == Progress | Strict


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry": 3}, "retry is a Retry or None, got 3"),
        ({"rate_limit": 5}, "rate_limit is a RateLimit or None, got 5"),
        ({"concurrency_limit": 2}, "concurrency_limit is a ConcurrencyLimit or None, got 2"),
        ({"audit": "full"}, "audit is one of Audit, as Audit.FULL, or None, got 'full'"),
    ],
)
def test_an_option_of_another_kind_is_refused_where_the_task_is_written(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        task(name="pure", **options)(pure.function)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        # Taken for REPLACE, it would cancel the live task that holds the key.
        ("with_key", ("k", "keep"), "on_conflict is KEEP, REPLACE or REJECT, got 'keep'"),
        ("with_audit", ("full",), "an audit level is one of Audit, as Audit.FULL, got 'full'"),
        ("after", (5,), "after() needs a timedelta, got 5"),
        ("at", ("now",), "at() needs an aware datetime, got 'now'"),
        ("start_within", (5,), "start_within() needs a timedelta, got 5"),
    ],
)
def test_what_a_request_is_asked_for_in_another_kind_is_refused(
    method: str, arguments: tuple[object, ...], said: str
) -> None:
    with pytest.raises(TaskDefinitionError) as raised:
        getattr(pure.with_metadata(Order(1)), method)(*arguments)
    assert str(raised.value) == said
