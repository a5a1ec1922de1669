"""Both clients over both stores: the blocking one is asked from a thread, so that one test says the same of both."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from milepost import BlockingClient, Client, Store, open_store
from tests.client.threaded import AnyClient, Threaded
from tests.database import store_url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind."""
    async with open_store(store_url(request, tmp_path)) as opened:
        yield opened


@pytest.fixture(params=["trio", "blocking"])
def client(request: pytest.FixtureRequest, store: Store) -> AnyClient:
    """Each client on each store."""
    return Client(store) if request.param == "trio" else Threaded(BlockingClient(store))
