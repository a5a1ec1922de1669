"""The stores that chains and sagas run on."""

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


@pytest.fixture(params=["sqlite", "postgres"])
async def shared_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store]:
    """An empty store of each kind that other processes can open as well, by its URL."""
    async with open_store(store_url(request.param, request, tmp_path)) as opened:
        yield opened
