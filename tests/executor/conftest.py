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
    async with open_store(store_url(request, tmp_path)) as opened:
        yield opened


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty SQLite store, where only a file will do."""
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}") as opened:
        yield opened


@pytest.fixture(params=["apsw", "sqlite3"])
async def each_sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty SQLite store by each library."""
    async with open_store(f"sqlite:///{tmp_path / 'tasks.db'}?driver={request.param}") as opened:
        yield opened
