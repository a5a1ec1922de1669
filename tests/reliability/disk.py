"""A disk that writes down what SQLite asks of it, and what could be left of it after a power cut.

`recorded` makes a recording VFS the default one, so that whoever opens a SQLite file by apsw writes into the recording.
`Disk` plays the recording up to the cut: whatever a sync has covered is there, and of the rest as much as `Fate` says.

The model is that of SQLite's own: a write never damages bytes beside it; what was written to a file reaches the disk in
any order until the file is synced; a file that was made or removed is so for good once its directory was synced, which
SQLite has done together with the first sync of a journal or a log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, final

import apsw
from attrs import evolve, frozen
from typing_extensions import Buffer

N = TypeVar("N")

_SECTOR_BYTES: Final = 512
_SYNCS_DIRECTORY: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
_NAME: Final = "milepost-recording"


@final
@frozen
class Linked:
    """The file `inode` got a name."""

    name: str
    inode: int


@final
@frozen
class Unlinked:
    """A name was removed."""

    name: str


@final
@frozen
class Written:
    """Bytes were written."""

    inode: int
    offset: int
    data: bytes


@final
@frozen
class Truncated:
    """The file was made `size` bytes long."""

    inode: int
    size: int


@final
@frozen
class Synced:
    """All that was written to the file is on the disk; with `names`, so are the names in its directory."""

    inode: int
    names: bool


_Naming: TypeAlias = Linked | Unlinked
_Change: TypeAlias = Written | Truncated
Operation: TypeAlias = _Naming | _Change | Synced


@final
class Recording(Generic[N]):
    """What was asked of the disk and what was noted meanwhile, in one order, after what `before` holds by names."""

    def __init__(self, folder: Path) -> None:
        self.before = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        self.entries: list[Operation | N] = []
        self._notes: list[N] = []
        self._folder = folder
        self._lock = threading.Lock()
        self._inodes = {name: inode for inode, name in enumerate(self.before)}
        self._given = len(self.before)

    def note(self, note: N) -> None:
        """Write down something that happened beside the disk."""
        self._notes.append(note)
        self._add(note)

    @property
    def notes(self) -> tuple[N, ...]:
        """Only what happened beside the disk."""
        return tuple(self._notes)

    def link(self, path: str) -> int:
        """The number of the file that was opened, a new one if it was made by that."""
        with self._lock:
            name = Path(path).name
            if name not in self._inodes:
                self.entries.append(Linked(name, self._given))
                self._inodes[name] = self._given
                self._given += 1
            return self._inodes[name]

    def unlink(self, path: str) -> None:
        """The file is gone from its directory."""
        with self._lock:
            if self._inodes.pop(Path(path).name, None) is not None:
                self.entries.append(Unlinked(Path(path).name))

    def add(self, operation: Operation) -> None:
        """The disk was asked for something."""
        self._add(operation)

    def is_of(self, path: str) -> bool:
        """Whether the file is one of those that are recorded."""
        return Path(path).parent == self._folder

    def _add(self, entry: Operation | N) -> None:
        with self._lock:
            self.entries.append(entry)


class _Tape(Protocol):
    def link(self, path: str) -> int: ...

    def unlink(self, path: str) -> None: ...

    def add(self, operation: Operation) -> None: ...

    def is_of(self, path: str) -> bool: ...


@final
class _RecordedFile(apsw.VFSFile):
    def __init__(self, base: str, tape: _Tape, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__(base, name, flags)
        self._tape = tape
        self._inode = tape.link(_path(name))
        self._syncs_names = bool(flags[0] & _SYNCS_DIRECTORY)

    def xWrite(self, data: Buffer, offset: int) -> None:  # noqa: N802
        self._tape.add(Written(self._inode, offset, bytes(data)))
        untyped: Any = super()  # apsw's own type for what is written names a class that it does not define
        untyped.xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._tape.add(Truncated(self._inode, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._tape.add(Synced(self._inode, self._syncs_names))
        self._syncs_names = False


@final
class _RecordingVfs(apsw.VFS):
    def __init__(self, base: str, tape: _Tape) -> None:
        self._base = base
        self._tape = tape
        super().__init__(_NAME, base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if name is None or not self._tape.is_of(_path(name)):
            return apsw.VFSFile(self._base, name, flags)
        return _RecordedFile(self._base, self._tape, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._tape.unlink(filename)


@contextmanager
def recorded(recording: Recording[N], *, checkpoint_pages: int) -> Generator[Recording[N]]:
    """Record what happens to SQLite files in the recording's folder, whose logs are folded in after so many pages."""
    vfs = _RecordingVfs(apsw.vfs_names()[0], recording)

    def fold_often(connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(checkpoint_pages)

    apsw.connection_hooks.append(fold_often)
    try:
        yield recording
    finally:
        apsw.connection_hooks.remove(fold_often)
        vfs.unregister()


def _path(name: str | apsw.URIFilename) -> str:
    return name if isinstance(name, str) else name.filename()


Fate: TypeAlias = Callable[[list[_Change]], Iterable[_Change]]
"""Which of the changes since the last sync of one file were on the disk, in their order."""


def nothing(changes: list[_Change]) -> Iterable[_Change]:
    """The disk had begun with none of them."""
    return ()


def everything(changes: list[_Change]) -> Iterable[_Change]:
    """The disk was done with all of them."""
    return changes


def prefix(chance: Random) -> Fate:
    """The disk did them in order, up to some point."""
    return lambda changes: changes[: chance.randint(0, len(changes))]


def subset(chance: Random) -> Fate:
    """The disk did them in an order of its own."""
    return lambda changes: [change for change in changes if chance.random() < 0.5]


def torn(chance: Random) -> Fate:
    """The disk did them in order, and was in the middle of one."""

    def kept(changes: list[_Change]) -> Iterable[_Change]:
        until = chance.randint(0, len(changes))
        yield from changes[:until]
        if until < len(changes):
            yield from _torn(changes[until], chance)

    return kept


def _torn(change: _Change, chance: Random) -> Iterable[_Change]:
    """A part of one write: up to any byte, or some of its sectors."""
    if isinstance(change, Truncated):
        return
    if chance.random() < 0.5:
        yield evolve(change, data=change.data[: chance.randint(0, len(change.data))])
        return
    for start in range(0, len(change.data), _SECTOR_BYTES):
        if chance.random() < 0.5:
            yield Written(change.inode, change.offset + start, change.data[start : start + _SECTOR_BYTES])


@final
class Disk:
    """The disk while a recording is played, from what was safely on it before."""

    def __init__(self, before: Mapping[str, bytes]) -> None:
        self._names = {name: inode for inode, name in enumerate(before)}
        self._namings: list[_Naming] = []
        self._contents = {inode: bytearray(content) for inode, content in enumerate(before.values())}
        self._changes: dict[int, list[_Change]] = {}

    def play(self, operation: Operation) -> None:
        """Do what was asked next."""
        match operation:
            case Linked() | Unlinked():
                self._namings.append(operation)
            case Written() | Truncated():
                self._changes.setdefault(operation.inode, []).append(operation)
            case Synced(inode, names):
                changes = self._changes.pop(inode, [])
                _change(self._contents.setdefault(inode, bytearray()), changes)
                if names:
                    _name(self._names, self._namings)
                    self._namings = []

    def after_power_cut(self, fate: Fate, *, keeps_names: bool) -> Mapping[str, bytes]:
        """The files, by name; `keeps_names` says whether those that were given and removed meanwhile are so."""
        names = dict(self._names)
        if keeps_names:
            _name(names, self._namings)
        return {name: self._content(inode, fate) for name, inode in names.items()}

    def _content(self, inode: int, fate: Fate) -> bytes:
        content = bytearray(self._contents.get(inode, b""))
        _change(content, fate(self._changes.get(inode, [])))
        return bytes(content)


def _change(content: bytearray, changes: Iterable[_Change]) -> None:
    for change in changes:
        match change:
            case Written(_, offset, data):
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
            case Truncated(_, size):
                del content[size:]
                content.extend(bytes(size - len(content)))


def _name(names: dict[str, int], namings: Iterable[_Naming]) -> None:
    for naming in namings:
        match naming:
            case Linked(name, inode):
                names[name] = inode
            case Unlinked(name):
                names.pop(name, None)
