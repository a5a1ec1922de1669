"""How long an answer of the server is waited for.

The server cuts what takes longer than `statement_timeout`, so whoever is silent for longer than that is not there any
more: a host that froze, or a network that forgot the connection. TCP does not tell of either while something in between
still acknowledges what is sent. Without a limit, a thread would wait for ever, and an executor with it.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final, TypeVar, final

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready

RV = TypeVar("RV")

_SPARE_SECONDS: Final = 3.0
"""For the network, and for a server that is busy with more than the statement."""

_LOOK_SECONDS: Final = 0.1
_UNIT_SECONDS: Final = {"us": 1e-6, "": 1e-3, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@final
class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up, and closes, when an answer takes longer than `answer_seconds`; None is no limit."""

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[RV], interval: float = _LOOK_SECONDS, timeout: float | None = None) -> RV:
        """Wait for what `gen` does with the connection. Raises `NoAnswer`; the connection is closed then."""
        limit = self.answer_seconds if timeout is None else timeout
        try:
            return super().wait(gen if limit is None else _limited(gen, limit), interval)
        except NoAnswer:
            self.close()
            raise


class NoAnswer(psycopg.OperationalError):
    """The server has said nothing for longer than a statement may take."""


def answer_seconds(statement_timeout: str) -> float | None:
    """How long to wait for the answer to a statement with this `statement_timeout`; None when it may take for ever.

    >>> answer_seconds("1min"), answer_seconds("250"), answer_seconds("0")
    (63.0, 3.25, None)
    """
    found = re.fullmatch(r"\s*([0-9]+\.?[0-9]*)\s*(us|ms|s|min|h|d|)\s*", statement_timeout)
    seconds = float(found[1]) * _UNIT_SECONDS[found[2]] if found else 0.0
    return seconds + _SPARE_SECONDS if seconds else None


def _limited(gen: PQGen[RV], seconds: float) -> PQGen[RV]:
    end = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready == Ready.NONE and time.monotonic() > end:
                raise NoAnswer(f"the server has not answered for {seconds:g} seconds")
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: RV = done.value
        return answer
