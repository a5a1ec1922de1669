"""Reads a task's shape and types from its signature, once, when it is defined.

Whatever is missing or unusable is a `TaskDefinitionError` that names the function, the parameter and the fix.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Never, NoReturn, TypeVar, Union, final, get_args, get_origin, get_type_hints

from attrs import frozen

from milepost.codec import CodecFactory
from milepost.codec.usable import is_union, resolve_classes
from milepost.errors import TaskDefinitionError
from milepost.results import Cancellation, Failure, Success, Suspended
from milepost.tasks.definition import TaskCodec, TaskTypes
from milepost.tasks.execution import BlockingExecution, Execution

_RESULTS: tuple[Any, ...] = (Success, Suspended, Failure, Cancellation)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@final
@frozen
class TaskSignature:
    """What the annotations say."""

    types: TaskTypes
    codec: TaskCodec
    is_async: bool
    takes_execution: bool


def read_signature(function: Callable[..., Any], *, blocking: bool, names: Mapping[str, Any]) -> TaskSignature:
    """Read `function`; `names` are the locals of the frame that defines it, for annotations that only they resolve."""
    return _Reader(function, blocking, names).read()


@final
@frozen
class _Reader:
    function: Callable[..., Any]
    blocking: bool
    names: Mapping[str, Any]

    def read(self) -> TaskSignature:
        parameters = self._parameters()
        hints = self._hints()
        metadata = self._hint(hints, parameters[0], "the metadata")
        execution_metadata = self._hint(hints, parameters[1], "the execution metadata")
        is_async = inspect.iscoroutinefunction(self._innermost())
        if is_async and self.blocking:
            self._refuse("is an async def and cannot be blocking: remove blocking=True or cpu_bound=True, or the async")
        if len(parameters) == 3:
            self._check_execution(hints, parameters[2], execution_metadata, is_async)
        result, error = self._answers(hints, execution_metadata)
        types = TaskTypes(metadata, execution_metadata, result, error)
        return TaskSignature(types, self._codecs(types), is_async, len(parameters) == 3)

    def _parameters(self) -> list[str]:
        found: list[str] = []
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind in _POSITIONAL and (len(found) < 2 or parameter.default is parameter.empty):
                found.append(parameter.name)
            elif parameter.default is parameter.empty:
                self._refuse(
                    f"has the parameter {parameter}, which nobody would fill: a task takes (metadata, "
                    "execution_metadata) or (metadata, execution_metadata, execution); use a closure for the rest"
                )
        if len(found) not in (2, 3):
            self._refuse(
                f"takes {len(found)} parameters: a task takes (metadata, execution_metadata) or "
                "(metadata, execution_metadata, execution); use Empty for what it does not need"
            )
        return found

    def _hints(self) -> dict[str, Any]:
        inner = self._innermost()
        # What calls @task need not be where the function was written: then the function's own module comes first.
        is_local = "<locals>" in getattr(inner, "__qualname__", "")
        own: Mapping[str, Any] = {} if is_local else getattr(inner, "__globals__", {})
        try:
            return get_type_hints(inner, localns={**self.names, **own, **_closure(inner)})
        except NameError as error:
            self._refuse(f"has an annotation that cannot be resolved ({error}): import or define that name before it")
        except TypeError as error:
            self._refuse(f"has an annotation that is not a type ({error})")

    def _hint(self, hints: dict[str, Any], parameter: str, what: str) -> Any:
        if parameter not in hints:
            self._refuse(f"has no annotation on {parameter!r}: write the type of {what}, an attrs class or Empty")
        return hints[parameter]

    def _check_execution(self, hints: dict[str, Any], name: str, x: Any, is_async: bool) -> None:
        wanted: Any = Execution if is_async else BlockingExecution
        if not is_async and not self.blocking:
            self._refuse(
                f"takes {name!r} but is a plain def, which can only return: make it an async def, or add blocking=True"
            )
        hint = hints.get(name)
        if get_origin(hint) is not wanted or get_args(hint) != (x,):
            self._refuse(f"needs the annotation {wanted.__name__}[{_name(x)}] on {name!r}, got {_name(hint)}")

    def _answers(self, hints: dict[str, Any], x: Any) -> tuple[Any, Any]:
        returned = hints.get("return")
        if returned is None:
            self._refuse("has no return annotation: write -> TaskResult[YourResult, YourError]")
        results: list[Any] = []
        errors: list[Any] = []
        for member in get_args(returned) if is_union(returned) else (returned,):
            origin = get_origin(member) or member
            if origin not in _RESULTS:
                self._refuse(f"returns {_name(member)}: write -> TaskResult[YourResult, YourError]")
            r, e, s = (*get_args(member), Never, Never, Never)[:3]
            if any(isinstance(each, TypeVar) for each in (r, e)) or member is origin:
                self._refuse("returns a TaskResult without types: write -> TaskResult[YourResult, YourError]")
            results.append(r)
            errors.append(e)
            if origin is Suspended and not set(_members(s)) <= set(_members(x)):
                self._refuse(
                    f"may return Suspended with {_name(s)}, its execution metadata is {_name(x)}: make them the same"
                )
        return _union(results), _union(errors)

    def _codecs(self, types: TaskTypes) -> TaskCodec:
        factory = CodecFactory()
        built: dict[str, Any] = {}
        parts = {
            "metadata": types.metadata,
            "execution_metadata": types.execution_metadata,
            "result": types.result,
            "error": types.error,
        }
        for part, type_ in parts.items():
            try:
                resolve_classes(type_, self.names)
                built[part] = factory.codec(type_)
            except TypeError as error:
                self._refuse(f"has a type of {part.replace('_', ' ')} that cannot be stored: {error}")
        return TaskCodec(**built)

    def _innermost(self) -> Any:
        inner: Any = self.function
        while _is_partial(inner):
            inner = inner.func
        inner = inspect.unwrap(inner)
        if not inspect.isroutine(inner) and callable(inner):
            return type(inner).__call__
        return inner

    def _refuse(self, problem: str) -> NoReturn:
        name = getattr(self._innermost(), "__qualname__", repr(self.function))
        raise TaskDefinitionError(f"the task {name} {problem}")


def _closure(function: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    code = getattr(function, "__code__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # not filled yet, as the cell of a task that names itself
            found[name] = cell.cell_contents
    return found


def _is_partial(function: object) -> bool:
    return isinstance(function, functools.partial)


def _members(type_: Any) -> tuple[Any, ...]:
    if type_ is Never:
        return ()
    return get_args(type_) if is_union(type_) else (type_,)


def _union(types: list[Any]) -> Any:
    wanted = tuple(dict.fromkeys(type_ for type_ in types if type_ is not Never))
    return Union[wanted] if wanted else Never  # noqa: UP007 (the members are known at run time only)


def _name(type_: Any) -> str:
    if type_ is None:
        return "nothing"
    return type_.__qualname__ if isinstance(type_, type) and not get_args(type_) else str(type_)
