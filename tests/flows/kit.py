"""What tests of flows ask of a store: everything that has become of them, told without ids and times."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from milepost import Client, Store, TaskQuery, TaskRecord
from tests.executor.kit import until_async

Told: TypeAlias = tuple[str, str, str, str]
"""Name, metadata, state and name of the parent of a task."""


async def all_records(store: Store, query: TaskQuery | None = None) -> list[TaskRecord]:
    """Every task, or all that a query finds, in the order in which they were enqueued."""
    page = await Client(store).search((query or TaskQuery()).with_page_size(1_000))
    assert page.next_cursor is None
    return sorted(page.records, key=lambda record: (record.created_at, record.id))


async def told(store: Store, correlation: str) -> Counter[Told]:
    """What became of everything of this correlation; the metadata of a companion holds ids, and is left out."""
    records = await all_records(store, TaskQuery().with_correlation(correlation))
    names = {record.id: record.name for record in records}
    return Counter(
        (
            record.name,
            "" if record.name.endswith(":on-outcome") else record.metadata_json,
            record.state.value,
            names.get(record.parent, "") if record.parent is not None else "",
        )
        for record in records
    )


async def enqueued(store: Store, *names: str) -> list[tuple[str, str]]:
    """Name and metadata of the tasks of these names, in the order in which they were enqueued."""
    return [(each.name, each.metadata_json) for each in await all_records(store) if each.name in names]


async def until_all_ended(store: Store) -> None:
    """Return once every task is final."""

    async def ended() -> bool:
        return all(record.state.is_final for record in await all_records(store))

    await until_async(ended, "every task to end")
