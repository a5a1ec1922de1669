"""Opens executors in tests."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from milepost.executor import Executor, ExecutorConfig, open_executor
from milepost.stores.protocol import Store
from milepost.tasks import Task
from milepost.telemetry import Observer
from milepost.testing.clock import patient_config


class OpenExecutor(Protocol):
    """Opens an executor that runs `tasks` while its block lasts."""

    def __call__(
        self,
        *tasks: Task[Any, Any, Any, Any],
        config: ExecutorConfig | None = None,
        observer: Observer | None = None,
    ) -> AbstractAsyncContextManager[Executor]:
        """As `milepost.open_executor`."""
        ...


def executor_opener(store: Store, *, is_virtual: bool) -> OpenExecutor:
    """One for `store`; in virtual time an executor looks around seldom, unless it has a config of its own."""

    def open_for_test(
        *tasks: Task[Any, Any, Any, Any],
        config: ExecutorConfig | None = None,
        observer: Observer | None = None,
    ) -> AbstractAsyncContextManager[Executor]:
        chosen = patient_config() if config is None and is_virtual else config
        return open_executor(store, tasks, config=chosen, observer=observer)

    return open_for_test
