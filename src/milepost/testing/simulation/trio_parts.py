"""The two parts of trio without a public door: who runs in this thread, and in which order ready tasks run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_run: Any = import_module("trio._core._run")


def run_context() -> dict[str, Any]:
    """What this thread knows of the run of trio that it is in; empty outside of any."""
    context: dict[str, Any] = _run.GLOBAL_RUN_CONTEXT.__dict__
    return context


@contextmanager
def seeded_scheduler(seed: int) -> Generator[None]:
    """Let trio shuffle ready tasks by `seed`, as it does for Hypothesis."""
    allowed, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        _run._r.setstate(state)
