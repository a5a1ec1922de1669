"""What all tests share: everything asynchronous runs on trio, Hypothesis draws the same examples each time, and one
PostgreSQL server serves all tests that ask for a database."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from functools import cache

import pytest
from hypothesis import settings

from milepost.stores.postgres.opening import SERVER_VERSION_MIN
from milepost.testing.binaries import newest_postgres
from milepost.testing.servers import PostgresServer, find_postgres
from tests.database import Database, running_database

# The same examples in every run, and no time limit for one example: a slow machine is not a bug.
settings.register_profile("milepost", derandomize=True, deadline=None)
settings.load_profile("milepost")

# Not UTC, nor whole hours from it, so that a time that loses its zone is seen.
SERVER_SETTINGS = {"timezone": "Asia/Kathmandu"}


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`each_postgres_url` is for the oldest and for the newest version of PostgreSQL on this machine."""
    if "each_postgres_url" in metafunc.fixturenames:
        versions = _versions()
        chosen = sorted({min(versions), max(versions)})
        ids = [f"postgres{version}" for version in chosen]
        metafunc.parametrize("each_postgres_url", chosen, indirect=True, ids=ids, scope="function")


@pytest.fixture(scope="session")
def _postgres_databases() -> Generator[Callable[[int], Database]]:
    """Gives the server of a version, with a database that is for one test at a time; started when first asked for."""
    started: dict[int, Database] = {}
    with ExitStack() as stack:

        def database(version: int) -> Database:
            if version not in started:
                (binaries,) = (each for each in find_postgres() if each.version == version)
                started[version] = stack.enter_context(running_database(binaries, SERVER_SETTINGS))
            return started[version]

        yield database


@pytest.fixture(scope="session")
def postgres_server(_postgres_databases: Callable[[int], Database]) -> PostgresServer:
    """A running server of the newest version on this machine; who stops it starts it again."""
    return _postgres_databases(max(_versions())).server


@pytest.fixture
def postgres_url(_postgres_databases: Callable[[int], Database]) -> Generator[str]:
    """The URL of an empty database on `postgres_server`, over its socket."""
    with _postgres_databases(max(_versions())).emptied() as url:
        yield url


@pytest.fixture
def each_postgres_url(_postgres_databases: Callable[[int], Database], request: pytest.FixtureRequest) -> Generator[str]:
    """`postgres_url` for the oldest and for the newest version of PostgreSQL on this machine."""
    with _postgres_databases(request.param).emptied() as url:
        yield url


@cache
def _versions() -> list[int]:
    """Those that milepost supports; without one the tests fail, so that nobody takes silence for success."""
    found = [each.version for each in find_postgres() if each.version >= SERVER_VERSION_MIN]
    return found or [newest_postgres().version]
