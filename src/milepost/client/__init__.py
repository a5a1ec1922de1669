"""What a program asks of live tasks: `Client` from trio, `BlockingClient` from anywhere else, with the same verbs."""

from milepost.client.blocking import BlockingClient, BlockingTaskHandle
from milepost.client.blocking_within import BlockingTransactionClient
from milepost.client.bulk import BulkSummary
from milepost.client.client import Client, TaskHandle
from milepost.client.compatibility import (
    CompatibilityReport,
    Incompatible,
    NewerVersion,
    UnknownTask,
    check_compatibility,
    check_compatibility_blocking,
)
from milepost.client.executors import ExecutorInfo
from milepost.client.groups import BlockingGroupHandle, GroupHandle
from milepost.client.query import TaskPage, TaskQuery
from milepost.client.queues import QueueInfo
from milepost.client.schedule_info import ScheduleInfo, ScheduleSync
from milepost.client.scheduling import sync_schedules, sync_schedules_blocking
from milepost.client.within import TransactionClient

__all__ = [
    "BlockingClient",
    "BlockingGroupHandle",
    "BlockingTaskHandle",
    "BlockingTransactionClient",
    "BulkSummary",
    "Client",
    "CompatibilityReport",
    "ExecutorInfo",
    "GroupHandle",
    "Incompatible",
    "NewerVersion",
    "QueueInfo",
    "ScheduleInfo",
    "ScheduleSync",
    "TaskHandle",
    "TaskPage",
    "TaskQuery",
    "TransactionClient",
    "UnknownTask",
    "check_compatibility",
    "check_compatibility_blocking",
    "sync_schedules",
    "sync_schedules_blocking",
]
