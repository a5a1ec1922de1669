"""How the free slots of a turn are divided between queues: by weight, in the long run too, and none is forgotten.

Each queue has a *pass*: what it was offered so far, divided by its weight. The next slot goes to the queue with the
lowest pass (stride scheduling). Offers count, used or not, so that an empty queue saves up nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heapreplace
from types import MappingProxyType
from typing import Final, final

from attrs import frozen

_NO_PASSES: Final[Mapping[str, float]] = MappingProxyType({})


@final
@frozen
class Wish:
    """What a queue could take: its weight beside others, and how many slots at most."""

    weight: int
    most: int


@final
@frozen
class Division:
    """How many slots each queue is offered, whose turn is next first, and the passes for the next division."""

    portions: Mapping[str, int]
    passes: Mapping[str, float]


def divide(free: int, wishes: Mapping[str, Wish], passes: Mapping[str, float] = _NO_PASSES) -> Division:
    """Divide `free` slots by weight, to nobody more than it could take.

    >>> portions = divide(10, {"mail": Wish(3, 100), "bulk": Wish(1, 100), "slow": Wish(4, 2)}).portions
    >>> sorted(portions.items())
    [('bulk', 2), ('mail', 6), ('slow', 2)]
    """
    wanting = {queue: wish for queue, wish in wishes.items() if wish.most > 0}
    start = min((passes[queue] for queue in wanting if queue in passes), default=0.0)
    # Who is new begins as if just served: else ever new queues could keep an old one waiting for ever.
    reached = {
        queue: max(passes[queue], start) if queue in passes else start + 1 / wish.weight
        for queue, wish in wanting.items()
    }
    portions = dict.fromkeys(wanting, 0)
    line = [(at, queue) for queue, at in reached.items()]
    heapify(line)
    for _ in range(free):
        if not line:
            break
        at, queue = line[0]
        wish = wanting[queue]
        portions[queue] += 1
        reached[queue] = at + 1 / wish.weight
        if portions[queue] < wish.most:
            heapreplace(line, (reached[queue], queue))
        else:
            heappop(line)
    order = sorted(wanting, key=lambda queue: (reached[queue], queue))
    return Division({queue: portions[queue] for queue in order}, _remembered(passes, reached, start))


def fill(free: int, wishes: Mapping[str, Wish], division: Division, take: Callable[[str, int], int]) -> int:
    """Let queues `take` their portions, then what the portions of others have left; returns what is left of `free`.

    `take` gets a queue and how many slots it may use, and says how many it has used; fewer are all that it could.
    """
    hungry: list[str] = []
    for queue, portion in division.portions.items():
        used = take(queue, portion) if portion else 0
        free -= used
        if used == portion < wishes[queue].most:
            hungry.append(queue)
    for queue in hungry:
        if free <= 0:
            break
        free -= take(queue, min(free, wishes[queue].most - division.portions[queue]))
    return free


def _remembered(passes: Mapping[str, float], reached: Mapping[str, float], start: float) -> dict[str, float]:
    """The passes, counted from the lowest; of queues that are not here only what they are ahead by."""
    ahead = {queue: at for queue, at in passes.items() if queue not in reached and at > start}
    lowest = min(reached.values(), default=start)
    return {queue: at - lowest for queue, at in {**ahead, **reached}.items()}
