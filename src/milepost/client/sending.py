"""Named events, as both clients and a caller's own transaction send them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, TypeVar, final, overload

from attrs import frozen

from milepost.client.steps import HasStore
from milepost.clock import later
from milepost.codec.scalars import shown
from milepost.errors import CommitUnknown, ConfigurationError, StoreError, TaskDefinitionError
from milepost.ids import new_id
from milepost.kinds import is_a
from milepost.names import KEY_RULE, is_key
from milepost.payload import JsonText
from milepost.stores.events import SentTo, send
from milepost.stores.flow_tables import SentEvent
from milepost.stores.protocol import Session
from milepost.tasks.named_event import NamedEvent, named

P = TypeVar("P")

KEPT: Final = timedelta(days=7)
"""How long an event is kept for somebody to come, unless the sender says otherwise."""


@final
@frozen
class Sending:
    """One call of `send_event`, checked and encoded: what is sent under which id, and how long it is kept."""

    name: str
    key: str
    payload_json: JsonText
    id: str | None
    keep: timedelta

    @classmethod
    def of(cls, event: NamedEvent[Any] | str, key: str, payload: object, id: str | None, keep: timedelta) -> Sending:
        """What the call asks for; raises `ConfigurationError` for what it cannot be, and `InvalidPayload`."""
        try:
            known = named(event)
        except TaskDefinitionError as error:
            raise ConfigurationError(str(error)) from None
        for what, text in (("key", key), ("id", id)):
            if not is_key(text) and (text is not None or what == "key"):
                raise ConfigurationError(f"the {what} of an event is {KEY_RULE}, got {shown(text)}")
        if not is_a(keep, timedelta) or keep < timedelta(0):
            raise ConfigurationError(f"`keep` is a timedelta of zero or more, as timedelta(days=7), got {shown(keep)}")
        if id is not None and not keep:
            raise ConfigurationError("an id is known as long as the event is kept, and `keep` is zero: leave one out")
        return cls(known.name, key, known.write(payload), id, keep)

    def within(self, session: Session) -> SentTo:
        """Send it, in a transaction that is open already."""
        now = session.now()
        id = new_id() if self.id is None else self.id
        event = SentEvent(self.name, self.key, id, self.payload_json, now, later(now, self.keep))
        return send(session, event, is_named=self.id is not None)


class EventVerbs:
    """What `Client` does with named events."""

    __slots__ = ()

    @overload
    async def send_event(
        self: HasStore, event: NamedEvent[P], key: str, payload: P, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    @overload
    async def send_event(
        self: HasStore, event: str, key: str, payload: object, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    async def send_event(
        self: HasStore,
        event: NamedEvent[Any] | str,
        key: str,
        payload: object,
        *,
        id: str | None = None,
        keep: timedelta = KEPT,
    ) -> SentTo:
        """Let every task go on that waits for this event under this key, with the payload; durable when this returns.

        Where nobody waits, it is kept for the first that comes to wait, once, for the time `keep`; zero: not at all.
        With an `id` of yours, such as a webhook's, the same event sent again within `keep` does nothing, and so a lost
        reply is asked for once more; without one it raises `CommitUnknown`. Raises `InvalidPayload` for a payload that
        cannot be stored, or is None.
        """
        sending = Sending.of(event, key, payload, id, keep)
        try:
            return await self.store.transact(sending.within)
        except CommitUnknown as unknown:
            if sending.id is None:
                raise
            try:
                return await self.store.transact(sending.within)
            except StoreError as fault:
                raise unknown from fault


class BlockingEventVerbs:
    """What `BlockingClient` does with named events."""

    __slots__ = ()

    @overload
    def send_event(
        self: HasStore, event: NamedEvent[P], key: str, payload: P, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    @overload
    def send_event(
        self: HasStore, event: str, key: str, payload: object, *, id: str | None = None, keep: timedelta = KEPT
    ) -> SentTo: ...
    def send_event(
        self: HasStore,
        event: NamedEvent[Any] | str,
        key: str,
        payload: object,
        *,
        id: str | None = None,
        keep: timedelta = KEPT,
    ) -> SentTo:
        """Let every task go on that waits for this event; as `Client.send_event`."""
        sending = Sending.of(event, key, payload, id, keep)
        try:
            return self.store.transact_blocking(sending.within)
        except CommitUnknown as unknown:
            if sending.id is None:
                raise
            try:
                return self.store.transact_blocking(sending.within)
            except StoreError as fault:
                raise unknown from fault
