"""Draws a state machine. Pure; what is not known is said and never guessed."""

from __future__ import annotations

from collections.abc import Iterator

from milepost.machine.definition import Handler, Machine

_START = "any state can be the first: the request brings it"
_SOURCE = "the ways are those in the return annotations of the handlers"
# Words of Mermaid's own, in any case of letters.
_RESERVED = frozenset(
    {"accdescr", "acctitle", "as", "class", "classdef", "click", "default", "direction", "end", "hide", "href", "note"}
    | {"scale", "state", "statediagram", "style"}
)


def as_text(machine: Machine) -> str:
    """One line for each state."""
    width = max(map(len, machine.states))
    ways = (f"  {handler.state:{width}} {_told(handler)}" for handler in machine.handlers.values())
    return "\n".join([machine.name, *ways, f"{_START}; {_SOURCE}"])


def as_mermaid(machine: Machine) -> str:
    """A `stateDiagram-v2`."""
    lines = [f"%% {machine.name}: {_START}; {_SOURCE}", "stateDiagram-v2"]
    for handler in machine.handlers.values():
        lines += (f"    {line}" for line in _drawn(handler))
    return "\n".join(lines)


def _told(handler: Handler) -> str:
    exits = handler.exits
    if exits.unknown:
        return f"-> ? (the handler {handler.name} has {exits.unknown})"
    ways = [f"-> {' | '.join(exits.steps)}"] if exits.steps else []
    ways += (f"suspends in {state}" for state in exits.suspensions)
    if exits.ends:
        ways.append(f"ends with {' | '.join(exits.ends)}")
    return ", ".join(ways)


def _drawn(handler: Handler) -> Iterator[str]:
    exits, source = handler.exits, _id(handler.state)
    yield f'state "{handler.state}" as {source}' if source != handler.state else source
    for target in exits.steps:
        yield f"{source} --> {_id(target)}"
    for target in exits.suspensions:
        yield f"{source} --> {_id(target)}: Suspended"
    if exits.ends:
        yield f"{source} --> [*]: {', '.join(exits.ends)}"
    if exits.unknown:
        yield f"note right of {source}: ways not known, {handler.name} has {exits.unknown}"


def _id(state: str) -> str:
    return f"{state}_" if state.lower() in _RESERVED else state
