"""What a simulation has shown, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar, final

from attrs import field, frozen

from milepost.lifecycle.record import TaskRecord
from milepost.testing.simulation.audit import Violation
from milepost.testing.simulation.faults import Fault

T = TypeVar("T")


@final
@frozen(kw_only=True)
class SimulationReport(Generic[T]):
    """What became of one seed. `violations` are empty when every promise was kept.

    `answer` is what the scenario returned (None where violations have cut it short), `records` every task at the end,
    `faults` how often what went wrong, `sights` how often what was seen (`reclaimed`, `stale write refused`, ...),
    `seconds` the virtual time that it took, `changes` how many changes of tasks were checked.
    Two runs of one seed with the same tasks and the same scenario have the same `trace_hash`; `trace` has the newest
    lines of what happened.
    """

    seed: int
    violations: tuple[Violation, ...]
    answer: T | None
    records: tuple[TaskRecord, ...] = field(repr=False)
    faults: Mapping[Fault, int]
    sights: Mapping[str, int]
    seconds: float
    changes: int
    trace_hash: str
    trace: Sequence[str] = field(repr=False)

    def __str__(self) -> str:
        """What to read when a test has failed: the violations, and the last lines before the end."""
        if not self.violations:
            return f"seed {self.seed}: every promise was kept in {self.seconds:.0f} s of virtual time"
        said = [f"seed {self.seed}: {len(self.violations)} violations", *map(str, self.violations[:20])]
        return "\n".join([*said, "the end of the trace:", *self.trace[-60:]])
