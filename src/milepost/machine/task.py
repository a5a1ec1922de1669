"""The task that a state machine becomes: a task like any other, which can also draw itself."""

from __future__ import annotations

from typing import Any, Generic, final

import attrs
from attrs import frozen

from milepost.machine.definition import Machine
from milepost.machine.diagram import as_mermaid, as_text
from milepost.results import TaskResult
from milepost.tasks import Execution, Task
from milepost.tasks.definition import E_co, M_con, R_co, X_inv


@final
@frozen(eq=False, repr=False)
class MachineTask(Task[M_con, X_inv, R_co, E_co], Generic[M_con, X_inv, R_co, E_co]):
    """A task that runs a state machine; its execution metadata is the state."""

    machine: Machine = attrs.field(kw_only=True)

    @classmethod
    def of(cls, task: Task[M_con, X_inv, R_co, E_co], machine: Machine) -> MachineTask[M_con, X_inv, R_co, E_co]:
        """The same task, with the machine that its function runs."""
        parts: dict[str, Any] = {each.name: getattr(task, each.name) for each in attrs.fields(Task) if each.init}
        return MachineTask(**parts, machine=machine)

    async def __call__(
        self, metadata: M_con, state: X_inv, execution: Execution[X_inv], /
    ) -> TaskResult[R_co, E_co, X_inv]:
        """Run the machine from `state`, as an executor would."""
        result: TaskResult[R_co, E_co, X_inv] = await self.function(metadata, state, execution)
        return result

    def diagram(self) -> str:
        """States and the ways between them as text, as far as the return annotations of the handlers tell.

        Where they do not, the text says so; it never guesses.
        """
        return as_text(self.machine)

    def mermaid(self) -> str:
        """`diagram` as a state diagram for Mermaid, which many sites render."""
        return as_mermaid(self.machine)
