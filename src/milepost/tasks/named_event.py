"""A named event as its senders and those who wait for it agree on it: a name, and the type of what comes with it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Generic, TypeVar, final, overload

from attrs import field, frozen
from returns.result import Success
from typing_extensions import TypeForm

from milepost.codec import CodecFactory, TypeCodec
from milepost.codec.scalars import shown
from milepost.codec.usable import resolve_classes
from milepost.errors import InvalidPayload, TaskDefinitionError
from milepost.payload import JsonText, PayloadRefused
from milepost.tasks.checks import checked_name

P = TypeVar("P")

_NOTHING = "null"


@final
@frozen
class NamedEvent(Generic[P]):
    """The name of an event and the type of its payload, which can be whatever the metadata of a task can be.

    Raises `TaskDefinitionError` for what is no name, and for a type that cannot be stored.

    >>> paid = NamedEvent("paid", dict[str, int])
    >>> paid.read(paid.write({"cents": 100}))
    {'cents': 100}
    """

    name: str
    payload: TypeForm[P]
    codec: TypeCodec[P] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        checked_name(self.name, "name of an event")
        try:
            resolve_classes(self.payload, {})
            codec = CodecFactory().codec(self.payload)
        except TypeError as error:
            raise TaskDefinitionError(f"the event {self.name!r} has a payload that cannot be stored: {error}") from None
        object.__setattr__(self, "codec", codec)

    def write(self, payload: P) -> JsonText:
        """The payload as it is sent. Raises `InvalidPayload` for what cannot be stored, and for None: that is what a
        task gets that has waited in vain."""
        written = self.codec.write(payload)
        if isinstance(written, PayloadRefused):
            raise InvalidPayload(f"the payload of the event {self.name!r} cannot be stored: {written}")
        if written == _NOTHING:
            raise InvalidPayload(
                f"the payload of the event {self.name!r} is None, which stands for no event at all; send something else"
            )
        return written

    def read(self, text: str) -> P:
        """The payload that was sent. Raises `InvalidPayload` where it is of another type."""
        found = self.codec.decode(text)
        if isinstance(found, Success):
            payload: P = found.unwrap()
            return payload
        raise InvalidPayload(f"what came with the event {self.name!r} cannot be read: {found.failure()}")


@overload
def named(event: NamedEvent[P]) -> NamedEvent[P]: ...
@overload
def named(event: str) -> NamedEvent[Any]: ...
@overload
def named(event: NamedEvent[P] | str) -> NamedEvent[P] | NamedEvent[Any]: ...
def named(event: NamedEvent[Any] | str) -> NamedEvent[Any]:
    """The event itself, or one of this name whose payload is any JSON value."""
    match event:
        case NamedEvent():
            return event
        case str():
            return _plain(event)
        case _:
            raise TaskDefinitionError(f"an event is a NamedEvent, or the name of one as text, got {shown(event)}")


@lru_cache(256)
def _plain(name: str) -> NamedEvent[Any]:
    return NamedEvent(name, Any)
