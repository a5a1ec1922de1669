"""Who descends from whom, in the order that every store tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from milepost.lifecycle.record import TaskId


def nearest_first(roots: Sequence[TaskId], children_of: Callable[[TaskId], Iterable[TaskId]]) -> list[TaskId]:
    """All below `roots` without these: their children first, then the children of those, and each generation by id.

    A task that is enqueued again under its old id may descend from itself, so each is told once.

    >>> tree = {"a": ["c", "b"], "b": ["d"], "d": ["a"]}
    >>> nearest_first(["a"], lambda id: tree.get(id, []))
    ['b', 'c', 'd']
    """
    seen = set(roots)
    found: list[TaskId] = []
    generation = [*roots]
    while generation:
        generation = sorted({child for id in generation for child in children_of(id)} - seen)
        seen.update(generation)
        found += generation
    return found
