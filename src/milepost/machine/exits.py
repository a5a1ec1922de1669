"""Where a handler may lead, as far as its return annotation tells. Pure; a handler without one is still a handler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Never, final, get_args, get_origin, get_type_hints

from attrs import frozen

from milepost.codec.usable import is_union
from milepost.machine.next import RESULTS, Next
from milepost.results import Cancellation, Failure, Success, Suspended


@final
@frozen
class Exits:
    """The ways out of one state; all of them only if `unknown`, the reason why not, is empty."""

    steps: tuple[str, ...] = ()
    """States to go on in."""
    suspensions: tuple[str, ...] = ()
    """States to suspend in."""
    ends: tuple[str, ...] = ()
    """The kinds of results to end with."""
    unknown: str = ""


def exits_of(
    function: Callable[..., Any], state: str, states: Mapping[str, type[Any]], names: Mapping[str, Any]
) -> Exits:
    """Read the return annotation of the handler of `state`; `states` are all of the machine by name."""
    inner = _innermost(function)
    try:
        returned = get_type_hints(inner, localns={**names, **_closure(inner)})["return"]
    except KeyError:
        return Exits(unknown="no return annotation")
    except Exception:  # annotations may be any code; here they are only for people
        return Exits(unknown="annotations that cannot be resolved")
    try:
        # In the order of the annotation, each way once.
        found = dict.fromkeys(way for member in _members(returned) for way in _ways(member, state, states))
    except _Untold as untold:
        return Exits(unknown=str(untold))
    steps, suspensions, ends = (tuple(to for of, to in found if of == kind) for kind in ("step", "suspend", "end"))
    return Exits(steps, suspensions, ends)


class _Untold(Exception):
    """An annotation that does not tell; the reason."""


def _ways(member: Any, state: str, states: Mapping[str, type[Any]]) -> Iterator[tuple[str, str]]:
    origin, arguments = get_origin(member) or member, get_args(member)
    if origin is Next:
        yield from _steps(arguments, states)
    elif origin is Suspended:
        own = _members((*arguments, Never, Never, Never)[2])
        yield from (("suspend", _named(each, states)) for each in own)
        if not own:
            yield "suspend", state
    elif origin in RESULTS:
        yield "end", origin.__name__
    else:
        raise _Untold("a return annotation that is not of Next and the four results")


def _steps(arguments: tuple[Any, ...], states: Mapping[str, type[Any]]) -> Iterator[tuple[str, str]]:
    if not arguments:
        raise _Untold("a Next without its states in its return annotation")
    targets = [_named(each, states) for each in _members(arguments[0])]
    yield from (("step", target) for target in targets)
    result, error = (*arguments, Never, Never)[1:3]
    if result is not Never:
        yield "end", Success.__name__
    if error is not Never:
        yield from (("end", kind.__name__) for kind in (Failure, Cancellation))
    if (result, error) != (Never, Never):
        yield from (("suspend", target) for target in targets)


def _named(member: Any, states: Mapping[str, type[Any]]) -> str:
    for name, state in states.items():
        if (get_origin(member) or member) is state:
            return name
    raise _Untold("a return annotation with something that is no state of the machine")


def _members(type_: Any) -> tuple[Any, ...]:
    if type_ is Never:
        return ()
    return get_args(type_) if is_union(type_) else (type_,)


def _innermost(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    return function if inspect.isroutine(function) else type(function).__call__


def _closure(function: Any) -> Mapping[str, Any]:
    try:
        return inspect.getclosurevars(function).nonlocals
    except (TypeError, ValueError):  # not a Python function, or a cell that is not filled yet
        return {}
