"""The executor's settings: one frozen value, checked when it is built."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, final

from attrs import Attribute, field, frozen

from milepost.codec.scalars import shown
from milepost.errors import ConfigurationError
from milepost.lifecycle.retention import Retention
from milepost.tasks.checks import checked_setting_name


def _positive(_: Any, attribute: Attribute[Any], value: float) -> None:
    if not (type(value) in (int, float) and value > 0 and math.isfinite(value)):
        raise ConfigurationError(f"ExecutorConfig.{attribute.name} must be above 0, got {value!r}")


def _not_negative(_: Any, attribute: Attribute[Any], value: float) -> None:
    if not (type(value) in (int, float) and value >= 0 and math.isfinite(value)):
        raise ConfigurationError(f"ExecutorConfig.{attribute.name} must be 0 or more, got {value!r}")


def _count(_: Any, attribute: Attribute[Any], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"ExecutorConfig.{attribute.name} must be a whole number from 1, got {value!r}")


def _level(_: Any, attribute: Attribute[Any], value: int | None) -> None:
    if value is not None and (type(value) is not int or value < 0):
        raise ConfigurationError(
            f"ExecutorConfig.{attribute.name} must be a level such as logging.INFO, or None for no lines, got {value!r}"
        )


def _retention(_: Any, attribute: Attribute[Any], value: Retention | None) -> None:
    if value is not None and type(value) is not Retention:
        raise ConfigurationError(
            f"ExecutorConfig.{attribute.name} must be a Retention, or None to keep all, got {value!r}"
        )


def _queue_limits(_: Any, attribute: Attribute[Any], value: Mapping[str, int] | None) -> None:
    if value is not None and not hasattr(value, "items"):
        raise ConfigurationError(f"ExecutorConfig.queues maps names to limits, as {{'mail': 2}}, got {value!r}")
    if value is not None and not value:
        raise ConfigurationError("ExecutorConfig.queues is empty, so nothing would run; leave it out to serve all")
    for name, limit in (value or {}).items():
        checked_setting_name(name, "key of ExecutorConfig.queues")
        if type(limit) is not int or limit < 1:
            raise ConfigurationError(f"ExecutorConfig.queues[{name!r}] must be a whole number from 1, got {limit!r}")


@final
@frozen(kw_only=True)
class ExecutorConfig:
    """How one executor works. Durations are in seconds; what is out of range raises `ConfigurationError`.

    - `concurrency`: tasks that run at once. `queues`: the queues it serves, each with a limit of how many this executor
      runs at once; None serves every queue in which one of its tasks waits. What holds for the whole fleet, as pauses,
      limits and weights, is said to the store (`Client.set_queue`); free slots are divided by these weights.
    - `lease_seconds`: how long the others believe in this executor after its last sign of life; then they take over
      its tasks. `stall_seconds`: for how long user code may block trio's thread before the lease is let go.
    - `poll_seconds`: how often an idle executor looks for work without a hint, and a busy one for queues that it does
      not know and for what was said of queues.
    - `effect_seconds`: how long an effect may hold its transaction.
    - `drain_seconds`: how long a stop lets running tasks finish. `cleanup_seconds`: how long a run may take to end once
      it was asked to stop.
    - `stalls_max`: claims without progress after which a task is quarantined.
    - `log_level`: lines that a run logs by `execution.log` are stored from this level on; None stores none. They go to
      the standard library's logging in any case. `log_lines_max`: how many of one run are stored; then a last line
      says how many are missing.
    - `retention`: which ended tasks and lines this executor removes from the store, in small batches; None: none.
      `prune_seconds`: about how often one of the executors that have one looks for them.
    """

    concurrency: int = field(default=100, validator=_count)
    queues: Mapping[str, int] | None = field(default=None, validator=_queue_limits)
    lease_seconds: float = field(default=30, validator=_positive)
    stall_seconds: float = field(default=300, validator=_positive)
    poll_seconds: float = field(default=1.0, validator=_positive)
    effect_seconds: float = field(default=10, validator=_positive)
    drain_seconds: float = field(default=20, validator=_not_negative)
    cleanup_seconds: float = field(default=5, validator=_not_negative)
    stalls_max: int = field(default=5, validator=_count)
    log_level: int | None = field(default=logging.INFO, validator=_level)
    log_lines_max: int = field(default=1_000, validator=_count)
    retention: Retention | None = field(default=None, validator=_retention)
    prune_seconds: float = field(default=60, validator=_positive)


def checked_config(config: ExecutorConfig) -> ExecutorConfig:
    """`config` itself; raises `ConfigurationError` when it is none."""
    if type(config) is not ExecutorConfig:
        raise ConfigurationError(
            f"the config of an executor is an ExecutorConfig, as ExecutorConfig(concurrency=8), got {shown(config)}"
        )
    return config
