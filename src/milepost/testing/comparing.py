"""Where two values differ, part by part, and how the four answers and crashes are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import attrs

from milepost.crash import Crash
from milepost.results import Cancellation, Failure, Success, Suspended
from milepost.testing.crash_report import Difference

_ANSWERS: Final[tuple[type, ...]] = (Success, Failure, Suspended, Cancellation, Crash)
_LINES_MAX: Final = 40


def told_comparison(left: object, right: object) -> list[str] | None:
    """Why `left` is not `right`, in lines for people, if one of them is an answer, a crash, or what `crash_matrix`
    found; None for everything else.

    >>> told_comparison(Failure.with_error({"row": 3}), Failure.with_error({"row": 4}))
    ["Failure(error={'row': 3}) is not Failure(error={'row': 4})", "  .error['row']: 3 is not 4"]
    """
    if _is_found(left) and right == ():
        return [line for each in cast("tuple[Difference, ...]", left) for line in ("", *str(each).splitlines())][1:]
    if type(left) not in _ANSWERS and type(right) not in _ANSWERS:
        return None
    head = f"{_short(left)} is not {_short(right)}"
    if type(left) is not type(right):
        return [head, *_crash_lines("left", left), *_crash_lines("right", right)]
    parts = [f"  {path}: {ours} is not {theirs}" for path, ours, theirs in differing_parts(left, right)]
    return [head, *parts[:_LINES_MAX]]


def differing_parts(left: object, right: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """The paths of the smallest parts that differ, with both of them as they are shown.

    >>> list(differing_parts({"a": [1, 2]}, {"a": [1, 3], "b": 1}))
    [("['a'][1]", '2', '3'), ("['b']", 'nothing', '1')]
    """
    if left == right:
        return
    if type(left) is type(right):
        parts = list(_parts(left, right))
        if parts:
            for part, ours, theirs in parts:
                yield from differing_parts(ours, theirs, path + part)
            return
    yield path, repr(left), repr(right)


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def _parts(left: Any, right: Any) -> Iterator[tuple[str, object, object]]:
    """The parts of two values of one type, side by side."""
    kind = cast("type[Any]", left.__class__)
    if attrs.has(kind):
        for field in attrs.fields(kind):
            if field.eq:
                yield f".{field.name}", getattr(left, field.name), getattr(right, field.name)
    elif isinstance(left, Mapping):
        ours, theirs = cast("Mapping[object, object]", left), cast("Mapping[object, object]", right)
        for key in dict.fromkeys([*ours, *theirs]):
            yield f"[{key!r}]", ours.get(key, _NOTHING), theirs.get(key, _NOTHING)
    elif isinstance(left, Sequence) and not isinstance(left, (str, bytes)):
        ours_, theirs_ = cast("Sequence[object]", left), cast("Sequence[object]", right)
        for index in range(max(len(ours_), len(theirs_))):
            yield (
                f"[{index}]",
                ours_[index] if index < len(ours_) else _NOTHING,
                theirs_[index] if index < len(theirs_) else _NOTHING,
            )


def _crash_lines(side: str, value: object) -> Iterator[str]:
    if isinstance(value, Crash) and value.traceback:
        yield f"  the {side} one crashed:"
        yield from (f"    {line}" for line in value.traceback.rstrip().splitlines()[-_LINES_MAX:])


def _short(value: object) -> str:
    if isinstance(value, Crash):
        said = ": ".join(filter(None, (value.type_name, value.message)))
        return f"Crash({value.kind.value}{f', {said}' if said else ''})"
    return repr(value)


def _is_found(value: object) -> bool:
    if not isinstance(value, tuple) or not value:
        return False
    return all(isinstance(each, Difference) for each in cast("tuple[object, ...]", value))
