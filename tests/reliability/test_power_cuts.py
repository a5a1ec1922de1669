"""The power is cut before every sync of a SQLite store at work: what was promised is there, and nothing is half done.

A cut just before a sync loses the most: whatever a cut just after the one before it can leave, this one can too, and
more has been promised by then. The quick tier cuts one recording; MILEPOST_SOAK makes several for each of its times,
with more chances for what was not synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import Any, Final, TypeAlias, final

import pytest
import trio
from attrs import frozen

from milepost.stores.sqlite.apsw_driver import ApswConnection
from tests.reliability.disk import (
    Disk,
    Fate,
    Linked,
    Recording,
    Synced,
    Unlinked,
    everything,
    nothing,
    prefix,
    recorded,
    subset,
    torn,
)
from tests.reliability.power import FILE, STEPS, Audit, Promise, audit, finish, work

pytestmark = pytest.mark.slow

TIMES: Final = int(os.environ.get("MILEPOST_SOAK", "0"))
RECORDINGS: Final = range(3 * TIMES or 1)
CHANCES: Final = 3 if TIMES else 1
WAVES: Final = 4
CHECKPOINT_PAGES: Final = 30
SECOND_CUTS: Final = 5 if TIMES else 2
FINISHED_EVERY: Final = 25
"""Of so many distinct states with unfinished tasks, one is run to its end."""

Work: TypeAlias = Recording[Promise]


@final
@frozen
class Cut:
    """What a power cut has left: of which cut, by which fate, what was promised until then, and the files."""

    number: int
    fate: str
    promises: tuple[Promise, ...]
    files: Mapping[str, bytes]

    @property
    def digest(self) -> bytes:
        """Equal for equal files."""
        said = blake2b(digest_size=16)
        for name, content in sorted(self.files.items()):
            said.update(f"{name} {len(content)} ".encode())
            said.update(content)
        return said.digest()

    def write(self, folder: Path) -> None:
        """Put the files where a store can open them."""
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


def record(folder: Path, waves: int = WAVES) -> Work:
    """Let a store work in an empty folder."""
    folder.mkdir()
    with recorded(Recording[Promise](folder), checkpoint_pages=CHECKPOINT_PAGES) as recording:
        trio.run(work, f"sqlite:///{folder / FILE}", waves, recording.note)
    return recording


def record_finish(folder: Path, *, days: int) -> Work:
    """Let a store go on with what is left in the folder, some days after the work began."""
    with recorded(Recording[Promise](folder), checkpoint_pages=CHECKPOINT_PAGES) as recording:
        trio.run(finish, f"sqlite:///{folder / FILE}", days, recording.note)
    return recording


def fates(chance: Random) -> Iterator[tuple[str, Fate]]:
    """What may become of what was not synced."""
    yield "nothing", nothing
    yield "everything", everything
    for _ in range(CHANCES):
        yield "prefix", prefix(chance)
        yield "subset", subset(chance)
        yield "torn", torn(chance)


def cuts(recording: Work, chance: Random, earlier: Iterable[Promise] = ()) -> Iterator[Cut]:
    """All that the cuts before each sync, and the one at the end, may leave."""
    disk, promises, number = Disk(recording.before), list(earlier), 0
    for entry in chain(recording.entries, [None]):
        if isinstance(entry, Promise):
            promises.append(entry)
            continue
        if entry is None or isinstance(entry, Synced):
            number += 1
            for name, fate in fates(chance):
                keeps_names = name == "everything" or (name != "nothing" and chance.random() < 0.5)
                files = disk.after_power_cut(fate, keeps_names=keeps_names)
                yield Cut(number, name, tuple(promises), files)
        if entry is not None:
            disk.play(entry)


@final
class Auditor:
    """Opens each distinct state of the files once, and finishes the tasks in some of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._audits: dict[bytes, Audit] = {}
        self._unfinished = 0
        self.finished = 0

    @property
    def states(self) -> int:
        """How many distinct states there were."""
        return len(self._audits)

    def complaints(self, cut: Cut) -> list[str]:
        """What is wrong with what the cut has left, which then stays in the folder."""
        found = self._audits.get(cut.digest)
        folder = self._folder / f"{cut.number}-{cut.fate}-{len(self._audits)}"
        if found is None:
            cut.write(folder)
            found = self._audits[cut.digest] = audit(folder)
        complaints = list(found.complaints(cut.promises))
        if folder.exists() and not complaints:
            complaints = self._complaints_in_the_end(folder, found, cut)
        if not complaints:
            rmtree(folder, ignore_errors=True)
        return [f"cut {cut.number}, {cut.fate} of what was not synced, {folder}: {said}" for said in complaints]

    def _complaints_in_the_end(self, folder: Path, found: Audit, cut: Cut) -> list[str]:
        self._unfinished += bool(found.unfinished())
        if not found.unfinished() or self._unfinished % FINISHED_EVERY:
            return []
        self.finished += 1
        promised = record_finish(folder, days=4).notes
        after = audit(folder)
        return [
            *after.complaints([*cut.promises, *promised]),
            *(f"{id} was never finished" for id in after.unfinished()),
        ]


@pytest.mark.parametrize("number", RECORDINGS)
def test_a_power_cut_takes_nothing_that_was_promised_and_leaves_nothing_half_done(number: int, tmp_path: Path) -> None:
    recording = record(tmp_path / "work")
    auditor, last = Auditor(tmp_path), 0
    for cut in cuts(recording, Random(number)):
        assert not auditor.complaints(cut)
        last = cut.number
    print(f"\n{last} cuts, {auditor.states} distinct states of the files, {auditor.finished} of them run to their end")
    assert last >= 100, "too few syncs for this to mean anything"
    assert auditor.states >= 2 * last, "what was not synced made too little difference for this to mean anything"
    assert auditor.finished >= 4


@pytest.mark.parametrize("number", RECORDINGS)
def test_a_second_power_cut_while_the_first_is_made_good_takes_no_more_than_one(number: int, tmp_path: Path) -> None:
    chance, auditor, seconds = Random(number), Auditor(tmp_path), 0
    first = [cut for cut in cuts(record(tmp_path / "work", waves=3), chance) if cut.fate == "torn" and cut.promises]
    for index, cut in enumerate(chance.sample(first[: len(first) // 2], SECOND_CUTS)):
        folder = tmp_path / f"first-{index}"
        cut.write(folder)
        for second in cuts(record_finish(folder, days=2), chance, cut.promises):
            assert not auditor.complaints(second)
            seconds += second.fate == "nothing"  # once for each cut
    print(f"\n{seconds} second cuts after {SECOND_CUTS} first ones, {auditor.states} distinct states of the files")
    assert seconds >= 10 * SECOND_CUTS, "too few syncs for this to mean anything"


def test_the_recording_has_folded_logs_removed_files_and_promises_of_every_kind(tmp_path: Path) -> None:
    recording = record(tmp_path / "work")
    entries = recording.entries
    inodes = {entry.name: entry.inode for entry in entries if isinstance(entry, Linked)}
    syncs = [entry.inode for entry in entries if isinstance(entry, Synced)]
    assert inodes.keys() == {FILE, f"{FILE}-journal", f"{FILE}-wal"}
    assert {entry.name for entry in entries if isinstance(entry, Unlinked)} == {f"{FILE}-journal", f"{FILE}-wal"}
    assert syncs.count(inodes[FILE]) >= 10, "the log was folded in too rarely"
    promises = [entry for entry in entries if isinstance(entry, Promise)]
    assert {promise.sequence for promise in promises} == set(range(STEPS + 1))
    disk = Disk(recording.before)
    for entry in entries:
        if not isinstance(entry, Promise):
            disk.play(entry)
    left = disk.after_power_cut(everything, keeps_names=True)
    assert left == {FILE: (tmp_path / "work" / FILE).read_bytes()}, "the model of the disk and the disk differ"


Mutant: TypeAlias = Callable[[pytest.MonkeyPatch], None]


def never_syncs(patch: pytest.MonkeyPatch) -> None:
    """Leave it to the system when to write."""
    _replace(patch, "pragma synchronous = full", "pragma synchronous = off")


def promises_before_it_syncs(patch: pytest.MonkeyPatch) -> None:
    """Treat every transaction as one that need not be durable at once."""
    _replace(patch, "pragma synchronous = full", "pragma synchronous = normal")


def commits_effects_first(patch: pytest.MonkeyPatch) -> None:
    """Commit what an effect has done before what it belongs to."""
    original: Callable[..., Any] = ApswConnection.execute_foreign

    def execute_foreign(self: ApswConnection, text: str, *parameters: Any) -> Any:
        rows = original(self, text, *parameters)
        if text.startswith("insert"):
            self.raw.execute("commit; begin immediate; savepoint milepost_job")
        return rows

    patch.setattr(ApswConnection, "execute_foreign", execute_foreign)


def _replace(patch: pytest.MonkeyPatch, statement: str, other: str) -> None:
    original: Callable[..., Any] = ApswConnection.execute

    def execute(self: ApswConnection, text: str, *parameters: Any) -> Any:
        return original(self, other if text == statement else text, *parameters)

    patch.setattr(ApswConnection, "execute", execute)


@pytest.mark.parametrize(
    ("mutant", "complaint"),
    [
        (never_syncs, "is not there"),
        (promises_before_it_syncs, "is not there"),
        (commits_effects_first, "is there 1 times, and the tasks say 0"),
    ],
)
def test_a_store_that_is_careless_is_found_out(mutant: Mutant, complaint: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        recording = record(tmp_path / "work", waves=2)
    auditor = Auditor(tmp_path)
    said = (each for cut in cuts(recording, Random(0)) for each in auditor.complaints(cut))
    assert any(complaint in each for each in said), f"{auditor.states} states of the files, and nobody noticed"
