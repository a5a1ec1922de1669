"""milepost: typed, result-oriented background tasks that go on from their last milepost.

The journey of one task, and where each stop lives:

    describe    tasks        a typed function becomes a Task, a Task with metadata a TaskRequest
    encode      codec        its values become canonical JSON, or a refusal
    enqueue     client       requests enter the store, in one transaction
    claim       executor     a turn takes what is due, each with a fence and a token
    decode      codec        the record becomes typed metadata and execution metadata again
    call        executor     the only place where user code runs, and where its exceptions end
    settle      executor     result or crash becomes an event
    transition  lifecycle    record x event x policy x now -> the next record
    commit      stores       the next record, progress and effects, fenced, in one transaction
    observe     telemetry    what happened, as values
"""

# Each public name leaves its own module and enters here, and nowhere else. `import X as X` marks it as exported.
from milepost.client import BlockingClient as BlockingClient
from milepost.client import BlockingGroupHandle as BlockingGroupHandle
from milepost.client import BlockingTaskHandle as BlockingTaskHandle
from milepost.client import BlockingTransactionClient as BlockingTransactionClient
from milepost.client import BulkSummary as BulkSummary
from milepost.client import Client as Client
from milepost.client import CompatibilityReport as CompatibilityReport
from milepost.client import ExecutorInfo as ExecutorInfo
from milepost.client import GroupHandle as GroupHandle
from milepost.client import Incompatible as Incompatible
from milepost.client import NewerVersion as NewerVersion
from milepost.client import QueueInfo as QueueInfo
from milepost.client import ScheduleInfo as ScheduleInfo
from milepost.client import ScheduleSync as ScheduleSync
from milepost.client import TaskHandle as TaskHandle
from milepost.client import TaskPage as TaskPage
from milepost.client import TaskQuery as TaskQuery
from milepost.client import TransactionClient as TransactionClient
from milepost.client import UnknownTask as UnknownTask
from milepost.client import check_compatibility as check_compatibility
from milepost.client import check_compatibility_blocking as check_compatibility_blocking
from milepost.client import sync_schedules as sync_schedules
from milepost.client import sync_schedules_blocking as sync_schedules_blocking
from milepost.codec.secrets import secret as secret
from milepost.crash import Crash as Crash
from milepost.crash import CrashKind as CrashKind
from milepost.effects import Statement as Statement
from milepost.effects import Transaction as Transaction
from milepost.errors import ClaimLost as ClaimLost
from milepost.errors import CommitUnknown as CommitUnknown
from milepost.errors import ConfigurationError as ConfigurationError
from milepost.errors import EffectTimeout as EffectTimeout
from milepost.errors import FollowUpRefused as FollowUpRefused
from milepost.errors import InvalidPayload as InvalidPayload
from milepost.errors import InvalidResult as InvalidResult
from milepost.errors import MilepostError as MilepostError
from milepost.errors import MixedSqliteLibraries as MixedSqliteLibraries
from milepost.errors import SchemaNewer as SchemaNewer
from milepost.errors import SchemaOld as SchemaOld
from milepost.errors import StoreBusy as StoreBusy
from milepost.errors import StoreClosed as StoreClosed
from milepost.errors import StoreDamaged as StoreDamaged
from milepost.errors import StoreError as StoreError
from milepost.errors import StoreFull as StoreFull
from milepost.errors import StoreReadOnly as StoreReadOnly
from milepost.errors import StoreUnreachable as StoreUnreachable
from milepost.errors import StoreUrlError as StoreUrlError
from milepost.errors import TaskDefinitionError as TaskDefinitionError
from milepost.errors import TaskGone as TaskGone
from milepost.executor import Executor as Executor
from milepost.executor import ExecutorConfig as ExecutorConfig
from milepost.executor import ExecutorStatistics as ExecutorStatistics
from milepost.executor import open_executor as open_executor
from milepost.executor import run_executor as run_executor
from milepost.flows import ChainBroken as ChainBroken
from milepost.flows import ChainState as ChainState
from milepost.flows import SagaFailed as SagaFailed
from milepost.flows import SagaPart as SagaPart
from milepost.flows import SagaState as SagaState
from milepost.flows import SagaTask as SagaTask
from milepost.flows import SagaUndone as SagaUndone
from milepost.flows import StepResults as StepResults
from milepost.flows import chain as chain
from milepost.flows import saga as saga
from milepost.lifecycle.children import ChildCount as ChildCount
from milepost.lifecycle.draft import OnConflict as OnConflict
from milepost.lifecycle.gates import BackingOff as BackingOff
from milepost.lifecycle.gates import CancelPending as CancelPending
from milepost.lifecycle.gates import ChildrenAwaited as ChildrenAwaited
from milepost.lifecycle.gates import ClaimedBy as ClaimedBy
from milepost.lifecycle.gates import ConcurrencyReached as ConcurrencyReached
from milepost.lifecycle.gates import DeadlinePassed as DeadlinePassed
from milepost.lifecycle.gates import Ended as Ended
from milepost.lifecycle.gates import EventAwaited as EventAwaited
from milepost.lifecycle.gates import ExecutorsFull as ExecutorsFull
from milepost.lifecycle.gates import Gate as Gate
from milepost.lifecycle.gates import Load as Load
from milepost.lifecycle.gates import NameUnregistered as NameUnregistered
from milepost.lifecycle.gates import NotDue as NotDue
from milepost.lifecycle.gates import OwnerLost as OwnerLost
from milepost.lifecycle.gates import Quarantined as Quarantined
from milepost.lifecycle.gates import QueueBusy as QueueBusy
from milepost.lifecycle.gates import QueuePaused as QueuePaused
from milepost.lifecycle.gates import QueueUnserved as QueueUnserved
from milepost.lifecycle.gates import RateReached as RateReached
from milepost.lifecycle.gates import Sharer as Sharer
from milepost.lifecycle.gates import StallsUsedUp as StallsUsedUp
from milepost.lifecycle.gates import StartDeadlinePassed as StartDeadlinePassed
from milepost.lifecycle.gates import SuspendedUntil as SuspendedUntil
from milepost.lifecycle.gates import VersionTooNew as VersionTooNew
from milepost.lifecycle.limits import ConcurrencyLimit as ConcurrencyLimit
from milepost.lifecycle.limits import RateLimit as RateLimit
from milepost.lifecycle.queues import QueueSettings as QueueSettings
from milepost.lifecycle.queues import WhenFull as WhenFull
from milepost.lifecycle.record import Audit as Audit
from milepost.lifecycle.record import HistoryEvent as HistoryEvent
from milepost.lifecycle.record import HistoryKind as HistoryKind
from milepost.lifecycle.record import TaskId as TaskId
from milepost.lifecycle.record import TaskRecord as TaskRecord
from milepost.lifecycle.refusals import CancelAccepted as CancelAccepted
from milepost.lifecycle.refusals import CancelRefused as CancelRefused
from milepost.lifecycle.refusals import DeleteRefused as DeleteRefused
from milepost.lifecycle.refusals import EnqueueRefusal as EnqueueRefusal
from milepost.lifecycle.refusals import EnqueueRefused as EnqueueRefused
from milepost.lifecycle.refusals import IdTaken as IdTaken
from milepost.lifecycle.refusals import KeyTaken as KeyTaken
from milepost.lifecycle.refusals import ModificationFailed as ModificationFailed
from milepost.lifecycle.refusals import ProceedRefused as ProceedRefused
from milepost.lifecycle.refusals import QueueFull as QueueFull
from milepost.lifecycle.refusals import RequeueRefused as RequeueRefused
from milepost.lifecycle.refusals import ScheduleNotFound as ScheduleNotFound
from milepost.lifecycle.refusals import ScheduleUnreadable as ScheduleUnreadable
from milepost.lifecycle.refusals import SeveralTasksFound as SeveralTasksFound
from milepost.lifecycle.refusals import TaskNotFound as TaskNotFound
from milepost.lifecycle.refusals import TriggerRefused as TriggerRefused
from milepost.lifecycle.refusals import WrongState as WrongState
from milepost.lifecycle.retention import PruneSummary as PruneSummary
from milepost.lifecycle.retention import Retention as Retention
from milepost.lifecycle.retry import Retry as Retry
from milepost.lifecycle.states import LimitKind as LimitKind
from milepost.lifecycle.states import TaskState as TaskState
from milepost.lifecycle.ties import Join as Join
from milepost.machine import Next as Next
from milepost.machine import StateMachine as StateMachine
from milepost.payload import Json as Json
from milepost.payload import PayloadRefused as PayloadRefused
from milepost.results import Cancellation as Cancellation
from milepost.results import Empty as Empty
from milepost.results import Failure as Failure
from milepost.results import Outcome as Outcome
from milepost.results import Success as Success
from milepost.results import Suspended as Suspended
from milepost.results import TaskResult as TaskResult
from milepost.results import from_result as from_result
from milepost.schedules.crontab import cron as cron
from milepost.schedules.days import ShortMonths as ShortMonths
from milepost.schedules.days import Weekday as Weekday
from milepost.schedules.fluent import daily as daily
from milepost.schedules.fluent import monthly as monthly
from milepost.schedules.fluent import weekly as weekly
from milepost.schedules.interval import every as every
from milepost.schedules.terms import Misfire as Misfire
from milepost.schedules.terms import Overlap as Overlap
from milepost.schedules.when import When as When
from milepost.stores.events import SentTo as SentTo
from milepost.stores.open import open_store as open_store
from milepost.stores.protocol import Store as Store
from milepost.stores.tables import LogLine as LogLine
from milepost.tasks import BlockingExecution as BlockingExecution
from milepost.tasks import Execution as Execution
from milepost.tasks import StopKind as StopKind
from milepost.tasks import Stopping as Stopping
from milepost.tasks import Task as Task
from milepost.tasks import TaskRequest as TaskRequest
from milepost.tasks import task as task
from milepost.tasks.children import Children as Children
from milepost.tasks.group import TaskGroup as TaskGroup
from milepost.tasks.group import group as group
from milepost.tasks.named_event import NamedEvent as NamedEvent
from milepost.tasks.schedule import Schedule as Schedule

KEEP = OnConflict.KEEP
REPLACE = OnConflict.REPLACE
REJECT = OnConflict.REJECT

ALL_SUCCEEDED = Join.ALL_SUCCEEDED
ALL_FINISHED = Join.ALL_FINISHED

MONDAY = Weekday.MONDAY
TUESDAY = Weekday.TUESDAY
WEDNESDAY = Weekday.WEDNESDAY
THURSDAY = Weekday.THURSDAY
FRIDAY = Weekday.FRIDAY
SATURDAY = Weekday.SATURDAY
SUNDAY = Weekday.SUNDAY
