"""The demo's tasks: index some files of the standard library, and remember at each commit which file is next.

The same work twice: as a blocking task that commits while it runs, and as a pure step function whose results say what
to write. In both, rows and progress enter the store in one transaction, and parsing happens outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Never

from attrs import frozen
from returns.result import Result
from returns.result import Success as Written

from milepost import BlockingExecution, Failure, Statement, Success, Suspended, Task, TaskResult, Transaction, task
from milepost.demo.symbols import INSERT, Row, rows_of

FILES_PER_COMMIT: Final = 5


@frozen
class Shard:
    """The request: which files, relative to which folder, and the SQL that writes a row, which is the database's."""

    root: str
    files: tuple[str, ...]
    insert: str = INSERT


@frozen
class Progress:
    """The progress: the file to go on with, and how many symbols were written before it."""

    next_file: int = 0
    symbols: int = 0


@frozen
class Indexed:
    """The result."""

    files: int
    symbols: int


@frozen
class Unreadable:
    """The error: a file that cannot be read any more."""

    file: str
    reason: str


@task(name="index-shard", blocking=True)
def index_shard(
    shard: Shard, progress: Progress, execution: BlockingExecution[Progress]
) -> TaskResult[Indexed, Unreadable]:
    """Index the shard in one run, with a commit every few files."""
    while progress.next_file < len(shard.files):
        rows = _rows_from(shard, progress)
        if isinstance(rows, Unreadable):
            return Failure.for_result(Indexed).with_error(rows)
        progress = _after(shard, progress, rows)
        execution.commit_with(_insert(shard, rows), progress)
        execution.report(progress.next_file / len(shard.files))
    return Success.with_result(Indexed(progress.next_file, progress.symbols)).for_error(Unreadable)


@task(name="index-shard-step")
def index_step(shard: Shard, progress: Progress) -> TaskResult[Indexed, Unreadable, Progress]:
    """Index the next few files of the shard; each step is a run of its own, and its rows are part of its result."""
    if progress.next_file >= len(shard.files):
        return Success.with_result(Indexed(progress.next_file, progress.symbols)).for_error(Unreadable)
    rows = _rows_from(shard, progress)
    if isinstance(rows, Unreadable):
        return Failure.for_result(Indexed).with_error(rows)
    return Suspended(_after(shard, progress, rows)).at_once().with_effects(Statement.many(shard.insert, rows))


TASKS: Final[tuple[Task[Shard, Progress, Indexed, Unreadable], ...]] = (index_shard, index_step)


def library_files(root: Path) -> list[str]:
    """Every Python file of the library at `root`, sorted; what was installed beside it is left out."""
    files = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(file.as_posix() for file in files if not {"site-packages", "dist-packages"} & set(file.parts))


def shards_of(root: Path, files: Sequence[str], *, count: int, insert: str = INSERT) -> list[Shard]:
    """Cut `files` into up to `count` requests of about the same number of files."""
    count = min(count, len(files))
    bounds = [len(files) * number // count for number in range(count + 1)]
    return [Shard(str(root), tuple(files[start:end]), insert) for start, end in pairwise(bounds)]


def _rows_from(shard: Shard, progress: Progress) -> list[Row] | Unreadable:
    """The rows of the next few files, or the first file that cannot be read."""
    rows: list[Row] = []
    for file in shard.files[progress.next_file : progress.next_file + FILES_PER_COMMIT]:
        try:
            source = (Path(shard.root) / file).read_bytes()
        except OSError as error:
            return Unreadable(file, error.strerror or type(error).__name__)
        rows.extend(rows_of(file, source))
    return rows


def _after(shard: Shard, progress: Progress, rows: Sequence[Row]) -> Progress:
    next_file = min(progress.next_file + FILES_PER_COMMIT, len(shard.files))
    return Progress(next_file, progress.symbols + len(rows))


def _insert(shard: Shard, rows: Sequence[Row]) -> Callable[[Transaction], Result[int, Never]]:
    """An effect that writes `rows`; it may be called again after a rollback, so it touches only the transaction."""

    def effect(transaction: Transaction) -> Result[int, Never]:
        for row in rows:
            transaction.execute(shard.insert, row)
        return Written(len(rows))

    return effect
