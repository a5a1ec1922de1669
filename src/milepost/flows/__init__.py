"""Tasks made out of tasks: `chain` hands results over, `saga` undoes what it has done when it cannot go on.

Both make ordinary tasks, whose execution metadata is how far they are. Every step is a suspension until its tasks have
ended, so all that a flow knows is durable before it goes on.
"""

from milepost.flows.chain import ChainBroken, ChainState, chain
from milepost.flows.progress import SagaFailed, SagaPart, SagaState, SagaTask, SagaUndone, StepResults
from milepost.flows.saga import Saga, SagaStep, saga

__all__ = [
    "ChainBroken",
    "ChainState",
    "Saga",
    "SagaFailed",
    "SagaPart",
    "SagaState",
    "SagaStep",
    "SagaTask",
    "SagaUndone",
    "StepResults",
    "chain",
    "saga",
]
