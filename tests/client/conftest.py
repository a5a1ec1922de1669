"""Both clients over each kind of store: the blocking one is asked from a thread, so one test says the same of both."""

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
    async with open_store(store_url(request.param, request, tmp_path)) as opened:
        yield opened


@pytest.fixture(params=["trio", "blocking"])
def client(request: pytest.FixtureRequest, store: Store) -> AnyClient:
    """Each client on each store."""
    return Client(store) if request.param == "trio" else Threaded(BlockingClient(store))


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an empty store is; the parameter is a kind, or a library for SQLite."""
    if request.param in ("apsw", "sqlite3"):
        return f"{store_url('sqlite', request, tmp_path)}?driver={request.param}"
    return store_url(request.param, request, tmp_path)


@pytest.fixture
async def own_store(url: str) -> AsyncGenerator[Store]:
    """The store at `url`."""
    async with open_store(url) as opened:
        yield opened


@pytest.fixture(params=["trio", "blocking"])
def own_client(request: pytest.FixtureRequest, own_store: Store) -> AnyClient:
    """Each client on the store at `url`."""
    return Client(own_store) if request.param == "trio" else Threaded(BlockingClient(own_store))
