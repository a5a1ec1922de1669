"""State machines: a handler for each state, and a task that commits every step before it takes the next.

Read `builder` for how one is made, `running` for how it runs.
"""

from milepost.machine.builder import MachineHandlers, MachineTypes, StateMachine
from milepost.machine.next import Next
from milepost.machine.task import MachineTask

__all__ = ["MachineHandlers", "MachineTask", "MachineTypes", "Next", "StateMachine"]
