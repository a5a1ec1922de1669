"""Verbs of several transactions, written once for all clients: a generator asks for transactions and gets answers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar, final, runtime_checkable

from attrs import frozen

from milepost.lifecycle.record import Audit
from milepost.stores.protocol import Session, Store

T = TypeVar("T")


@runtime_checkable
class HasStore(Protocol):
    """What a part of a client's verbs needs of the client, of either kind."""

    @property
    def store(self) -> Store:
        """What it asks."""
        ...

    @property
    def audit(self) -> Audit:
        """How much history is kept of what asks for no level of its own."""
        ...


@final
@frozen
class Read:
    """A transaction that only reads."""

    function: Callable[[Session], Any]


@final
@frozen
class Write:
    """A transaction that may write."""

    function: Callable[[Session], Any]


Steps: TypeAlias = Generator[Read | Write, Any, T]
"""Yields transactions, is sent what their functions returned, and returns the verb's answer."""


async def take(store: Store, steps: Steps[T]) -> T:
    """Take all steps from trio; may be cancelled between two of them."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        carry = store.read if isinstance(step, Read) else store.transact
        answer = await carry(step.function)


def take_blocking(store: Store, steps: Steps[T]) -> T:
    """Take all steps from any thread."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        carry = store.read_blocking if isinstance(step, Read) else store.transact_blocking
        answer = carry(step.function)


def take_within(session: Session, steps: Steps[T]) -> T:
    """Take all steps in a transaction that is open already."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value
        answer = step.function(session)
