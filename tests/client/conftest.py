"""Both clients over both stores: the blocking one is asked from a thread, so that one test says the same of both."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from milepost import BlockingClient, Client, Store, open_store
from tests.client.threaded import AnyClient, Threaded


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'tasks.db'}"
    async with open_store(url) as opened:
        yield opened


@pytest.fixture(params=["trio", "blocking"])
def client(request: pytest.FixtureRequest, store: Store) -> AnyClient:
    """Each client on each store."""
    return Client(store) if request.param == "trio" else Threaded(BlockingClient(store))
