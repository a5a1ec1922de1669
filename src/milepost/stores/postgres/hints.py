"""Hints as notifications: the channel of a schema, and what a payload says.

A payload is `ORIGIN:HINTS`. The origin is the store that committed, which has told its own listeners already and need
not listen to itself; it is empty where nobody in that process knows of the commit.
"""

from __future__ import annotations

import hashlib

from milepost.stores.protocol import ANY_HINT, Hint

_CHANNEL_BYTES_MAX = 63
_LETTERS = {"d": Hint.DUE, "c": Hint.CANCEL, "f": Hint.FINAL}


def channel_of(schema: str) -> str:
    """The channel on which the stores of one schema hear of each other.

    >>> channel_of("milepost")
    'milepost:milepost'
    """
    channel = f"milepost:{schema}"
    if len(channel.encode()) <= _CHANNEL_BYTES_MAX:
        return channel
    return f"milepost:{hashlib.sha256(schema.encode()).hexdigest()[:40]}"


def payload_of(hints: Hint, origin: str = "") -> str:
    """What to notify.

    >>> payload_of(Hint.DUE | Hint.FINAL, "9f3a")
    '9f3a:df'
    """
    return f"{origin}:{''.join(letter for letter, hint in _LETTERS.items() if hint in hints)}"


def heard_from(payload: str, *, but: str) -> Hint:
    """The hints of a notification, none if its origin is `but`; of a payload that is not understood, all.

    >>> heard_from("9f3a:c", but="b1b1")
    <Hint.CANCEL: 2>
    >>> heard_from("9f3a:c", but="9f3a")
    <Hint: 0>
    """
    origin, colon, letters = payload.partition(":")
    if colon and origin and origin == but:
        return Hint(0)
    hints = Hint(0)
    for letter in letters:
        hints |= _LETTERS.get(letter, ANY_HINT)
    return hints or ANY_HINT
