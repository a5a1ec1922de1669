"""The stores that the executor is tested on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from milepost import Store, open_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'tasks.db'}"
    async with open_store(url) as opened:
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
