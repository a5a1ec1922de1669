"""What all tests share: everything asynchronous runs on trio, and Hypothesis draws the same examples each time."""

from __future__ import annotations

import pytest
from hypothesis import settings

# The same examples in every run, and no time limit for one example: a slow machine is not a bug.
settings.register_profile("milepost", derandomize=True, deadline=None)
settings.load_profile("milepost")


@pytest.fixture
def anyio_backend() -> str:
    return "trio"
