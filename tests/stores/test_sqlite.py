"""The SQLite store keeps every promise of a store through both drivers, and has a few ways of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from milepost.stores.open import open_store
from milepost.stores.protocol import Store
from milepost.testing import StoreCheck, store_checks

pytestmark = pytest.mark.anyio

DRIVERS = ("apsw", "sqlite3")


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tasks.db?driver={request.param}"


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("check", store_checks(), ids=lambda check: check.name)
async def test_the_sqlite_store_keeps_the_promise(check: StoreCheck, driver: str, tmp_path: Path) -> None:
    opened = 0

    @asynccontextmanager
    async def fresh() -> AsyncGenerator[Store]:
        nonlocal opened
        opened += 1
        async with open_store(f"sqlite:///{tmp_path}/{opened}.db?driver={driver}") as store:
            yield store

    await check.run(fresh)
