"""Everything that ends an attempt and is not the task's own typed answer."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Callable
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast, final

from attrs import frozen

from milepost.payload import Json, JsonText, from_json_text, storable_text, to_json_text

D = TypeVar("D")

_TRACEBACK_CHARACTERS_MAX = 16_384
_MESSAGE_CHARACTERS_MAX = 4_096


class CrashKind(Enum):
    """Why an attempt ended without an answer of the task's own."""

    EXCEPTION = "exception"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    STALLED = "stalled"
    UNDECODABLE = "undecodable"
    CANCELLED = "cancelled"
    LIMITED = "limited"


@final
@frozen
class Crash:
    """What is known of an end that the task did not choose.

    `type_name` and `traceback` are empty unless an exception caused it; the traceback carries no local variables.
    For `CANCELLED` the message is the reason that was given to `cancel`.
    """

    kind: CrashKind
    message: str = ""
    type_name: str = ""
    traceback: str = ""

    @classmethod
    def of(
        cls,
        error: BaseException,
        kind: CrashKind = CrashKind.EXCEPTION,
        *,
        hide: Callable[[str], str] = str,
    ) -> Crash:
        """Describe `error`: qualified type name, message, and a traceback cut at its oldest frames.

        `hide` takes what people must not see out of message and traceback, before they are cut.

        >>> Crash.of(ValueError("no such row")).message
        'no such row'
        """
        text = "".join(tracebacks.format_exception(error))
        return cls(
            kind,
            message=storable_text(hide(_message_of(error)))[:_MESSAGE_CHARACTERS_MAX],
            type_name=_type_name(type(error)),
            traceback=storable_text(hide(text))[-_TRACEBACK_CHARACTERS_MAX:],
        )

    @classmethod
    def from_json_text(cls, text: str) -> Crash:
        """What `to_json_text` wrote; a damaged text is shown as the message that it is.

        >>> Crash.from_json_text(Crash(CrashKind.TIMEOUT, "too slow").to_json_text())
        Crash(kind=<CrashKind.TIMEOUT: 'timeout'>, message='too slow', type_name='', traceback='')
        """
        parts: Any = from_json_text(text).value_or(None)
        if not isinstance(parts, dict):
            return cls(CrashKind.EXCEPTION, text)
        crash = cast("dict[str, object]", parts)
        kind = _KINDS.get(str(crash.get("kind")))
        if kind is None:
            return cls(CrashKind.EXCEPTION, text)
        message, type_name, traceback = (str(crash.get(part, "")) for part in ("message", "type_name", "traceback"))
        return cls(kind, message, type_name, traceback)

    def value_or(self, default: D) -> D:
        """`default`, for a crash has no result: so that every outcome can be asked in one way.

        >>> Crash(CrashKind.TIMEOUT).value_or(0)
        0
        """
        return default

    def to_json_text(self) -> JsonText:
        """As stores keep it."""
        parts: dict[str, Json] = {
            "kind": self.kind.value,
            "message": self.message,
            "type_name": self.type_name,
            "traceback": self.traceback,
        }
        return to_json_text(parts).unwrap()


_KINDS: Final = MappingProxyType({kind.value: kind for kind in CrashKind})


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # an exception whose __str__ raises must not sink its report
        return f"<{type(error).__name__} whose text cannot be shown: {type(second).__name__}>"


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
