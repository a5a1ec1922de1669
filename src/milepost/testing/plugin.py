"""The pytest plugin `milepost`: fixtures, and assertions on results that tell what differs.

Works with plain functions, with AnyIO's plugin and with pytest-trio. Whoever asks for `milepost_clock` has virtual time
in trio and in the store; without it both tell the real one. Nothing of milepost is imported before a test needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from milepost import Client, Store
    from milepost.testing import OpenExecutor, VirtualClock


@pytest.fixture
def milepost_clock() -> VirtualClock:
    """Virtual time: days of waiting pass in milliseconds. Plain functions run what is async by `milepost_clock.run`."""
    from milepost.testing import virtual_clock

    return virtual_clock()


@pytest.fixture
def milepost_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store in memory, by `milepost_clock` if the test has one."""
    from milepost.clock import system_clock
    from milepost.stores.memory import MemoryStore

    clock: VirtualClock | None = None
    if "milepost_clock" in request.fixturenames:
        clock = request.getfixturevalue("milepost_clock")
    store = MemoryStore(system_clock if clock is None else clock.now)
    yield store
    store.close()


@pytest.fixture
def milepost_client(milepost_store: Store) -> Client:
    """A client of `milepost_store`."""
    from milepost import Client

    return Client(milepost_store)


@pytest.fixture
def milepost_executor(request: pytest.FixtureRequest, milepost_store: Store) -> OpenExecutor:
    """Opens an executor of `milepost_store`: `async with milepost_executor(import_users, send_mail) as executor:`."""
    from milepost.testing.open_executor import executor_opener

    return executor_opener(milepost_store, is_virtual="milepost_clock" in request.fixturenames)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Let AnyIO's plugin run a test by its `milepost_clock`; pytest-trio does so by itself."""
    given: dict[str, Any] = pyfuncitem.funcargs
    clock, backend = given.get("milepost_clock"), given.get("anyio_backend")
    if clock is not None and backend is not None:
        chosen: tuple[str, dict[str, Any]] = (backend, {}) if isinstance(backend, str) else backend
        if chosen[0] == "trio":
            given["anyio_backend"] = (chosen[0], {"clock": clock, **chosen[1]})
    return (yield)


def pytest_assertrepr_compare(config: pytest.Config, op: str, left: object, right: object) -> list[str] | None:
    """Tell of two results what differs, of a crash what was raised, and of `crash_matrix` what it found."""
    if op != "==" or "milepost" not in sys.modules:
        return None
    from milepost.testing.comparing import told_comparison

    return told_comparison(left, right)
