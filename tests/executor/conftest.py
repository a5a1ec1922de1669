"""The stores that the executor is tested on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from milepost import Store, open_store
from tests.database import store_url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind."""
    async with open_store(store_url(request.param, request, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty SQLite store, where only a file will do."""
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as opened:
        yield opened


@pytest.fixture(params=["apsw", "sqlite3", "postgres"])
async def sql_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store by each library that has SQL."""
    url = f"sqlite:///{tmp_path / 'tasks.db'}?driver={request.param}"
    if request.param == "postgres":
        url = store_url(request.param, request, tmp_path)
    async with open_store(url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgres"])
async def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind that others can open as well, by its URL."""
    async with open_store(store_url(request.param, request, tmp_path)) as opened:
        yield opened
