"""What a program asks of live tasks: `Client` from trio, `BlockingClient` from anywhere else, with the same verbs."""

from milepost.client.blocking import BlockingClient, BlockingTaskHandle, BlockingTransactionClient
from milepost.client.client import Client, TaskHandle, TransactionClient
from milepost.client.executors import ExecutorInfo
from milepost.client.query import TaskPage, TaskQuery

__all__ = [
    "BlockingClient",
    "BlockingTaskHandle",
    "BlockingTransactionClient",
    "Client",
    "ExecutorInfo",
    "TaskHandle",
    "TaskPage",
    "TaskQuery",
    "TransactionClient",
]
