"""Exceptions for programmer and operator errors, under one root class.

Refusals that a program plans for are values (see `lifecycle.refusals`); what is here means that something is
wrong with the program, its settings or its database. Each message names what, where and the fix.
"""

from __future__ import annotations


class MilepostError(Exception):
    """The root of every exception that milepost raises."""


class TaskDefinitionError(MilepostError, TypeError):
    """A task or a request is written in a way that could never run; raised where it is defined or enqueued."""


class ConfigurationError(MilepostError, ValueError):
    """A setting is out of its range; raised when the settings value is built."""


class InvalidResult(MilepostError, TypeError):
    """A task returned something that is none of its four declared results."""


class FollowUpRefused(MilepostError):
    """A result carries a follow-up that cannot be enqueued: its key is held by a running task that it should replace,
    its id belongs to another request, or it would wait for the task itself. Nothing of the result was stored.

    `task` is the id of the task whose result it is.
    """

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(reason)
        self.task = task


class ClaimLost(MilepostError):
    """This run no longer owns its task: the lease ran out and another claim took over, so nothing was written."""


class EffectTimeout(MilepostError, TimeoutError):
    """An effect held its transaction for longer than `effect_seconds`; it was rolled back."""


class TaskGone(MilepostError, LookupError):
    """The task that is waited for was deleted, or never was."""


class StoreError(MilepostError):
    """The database could not do what was asked; nothing of it was written, unless it is a `CommitUnknown`."""


class StoreUrlError(StoreError, ValueError):
    """The store's URL is not one that milepost understands."""


class StoreUnreachable(StoreError, OSError):
    """The database cannot be opened or has gone away."""


class CommitUnknown(StoreUnreachable):
    """The connection was lost while a COMMIT was under way: the call was written whole or not at all."""


class StoreBusy(StoreError, TimeoutError):
    """Another program has kept the database locked for longer than the store waits."""


class StoreReadOnly(StoreError, PermissionError):
    """The database can be read but not written."""


class StoreFull(StoreError, OSError):
    """The disk or the database's size limit is full; what was acknowledged is safe."""


class StoreDamaged(StoreError):
    """The file is not a database, or not a whole one."""


class StoreClosed(StoreError):
    """The store was used after its `open_store` block ended."""


class SchemaOld(StoreError):
    """The store's schema is missing or older than this version of milepost, and migrating was not allowed."""


class SchemaNewer(StoreError):
    """The store's schema was made by a newer version of milepost; nothing was changed."""


class CopyRefused(MilepostError):
    """A store was not copied, for somebody works on it or the target is not empty; nothing was written."""


class CopyDiffers(StoreError):
    """A store does not give back what was copied into it; the copy was rolled back."""


class MixedSqliteLibraries(StoreError):
    """Two SQLite libraries would use one file in one process, which breaks the file's locks."""


class InvalidPayload(MilepostError, ValueError):
    """Execution metadata that cannot be stored was given to a commit; nothing was written."""
