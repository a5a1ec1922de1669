"""What came of cutting a task everywhere, as values, and as a text that a person likes to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import groupby
from typing import Any, Final, Self, cast, final

from attrs import frozen

from milepost.results import Outcome

_ROWS_MAX: Final = 16
_VALUE_MAX: Final = 48
_TOLD_MAX: Final = 6
_CHARACTERS_MAX: Final = 400


class CutAt(Enum):
    """Between which two things a run was cut."""

    BEFORE_EFFECT = "before the effect of commit"
    AFTER_EFFECT = "after the effect, which failed, of commit"
    BEFORE_COMMIT = "before commit"
    AFTER_COMMIT = "after commit"
    BEFORE_RESULT = "before the result was stored"
    AFTER_RESULT = "after the result was stored"
    CHECKPOINT = "at a checkpoint after commit"

    @property
    def has_number(self) -> bool:
        """Whether it is told with the number of a commit."""
        return self.value.endswith("commit")


@final
@frozen
class Cut:
    """One place at which a run was cut.

    `commit` is the number of the commit, from 1, in its task; at a checkpoint or a result that of the last one, 0
    before the first. `execution_metadata` is what that commit stores, or the task started from. `line` is the line of
    code, if one is known: "file.py:12: await execution.commit(...)".
    """

    task: str
    at: CutAt
    commit: int
    execution_metadata: Any
    line: str = ""

    def __str__(self) -> str:
        number = f" {self.commit}" if self.at.has_number else ""
        return f"{self.task!r} {self.at.value}{number}, {_short(self.execution_metadata)}"


@final
@frozen
class Difference:
    """What was not as in the uncut run, after this cut; `what` names it: outcome, observation, statements, follow-ups.

    Without a cut, the uncut runs themselves are of no use: `after_cut` says what is wrong with them.
    """

    cut: Cut | None
    what: str
    uncut: Any
    after_cut: Any

    @property
    def more(self) -> tuple[str, ...]:
        """What is there after the cut only, or more often."""
        return _minus(self.after_cut, self.uncut)

    @property
    def missing(self) -> tuple[str, ...]:
        """What is not there after the cut, or less often."""
        return _minus(self.uncut, self.after_cut)

    def __str__(self) -> str:
        return "\n".join(_told(self))


@final
class CrashReport(str):
    """The text of the report, and what it tells as values.

    `differences` is empty if the task survives; `cuts` counts the runs that were cut, `commits` the commits of the
    uncut run. `outcome` and `observation` are the uncut run's.
    """

    task: str
    cuts: int
    commits: int
    differences: tuple[Difference, ...]
    outcome: Outcome[Any, Any]
    observation: object

    __slots__ = ("commits", "cuts", "differences", "observation", "outcome", "task")

    @classmethod
    def of(
        cls,
        task: str,
        cuts: Sequence[Cut],
        differences: Sequence[Difference],
        outcome: Outcome[Any, Any],
        observation: object,
    ) -> Self:
        """The report on a task that was cut at each of `cuts`."""
        report = cls("\n".join(_text(task, cuts, differences, outcome)))
        report.task = task
        report.cuts = len(cuts)
        report.commits = sum(cut.at is CutAt.AFTER_COMMIT for cut in cuts)
        report.differences = tuple(differences)
        report.outcome = outcome
        report.observation = observation
        return report


def _text(task: str, cuts: Sequence[Cut], differences: Sequence[Difference], outcome: object) -> Iterator[str]:
    useless = [each for each in differences if each.cut is None]
    if useless:
        yield f"{task!r} was not cut: its uncut runs cannot be compared with."
        for each in useless:
            yield ""
            yield from _told(each)
        return
    broken = {id(each.cut) for each in differences}
    if not differences:
        yield f"{task!r} survives: cut at each of {_many(len(cuts), 'place')}, resumed, and always as the uncut run."
    else:
        hurt = sum(id(cut) in broken for cut in cuts)
        yield f"{task!r} does not survive: cut at {_many(len(cuts), 'place')}, it ended otherwise after {hurt} of them."
    yield ""
    yield f"  uncut        {_short(outcome)}"
    yield from _rows(task, cuts, broken)
    alike = _alike(differences)
    for first, *others in alike[:_TOLD_MAX]:
        yield ""
        yield from _told(first)
        if others:
            numbers = ", ".join(str(each.cut.commit) for each in others[:_ROWS_MAX] if each.cut is not None)
            yield f"  likewise {_many(len(others), 'time')} more, at commit {numbers}"
    if len(alike) > _TOLD_MAX:
        yield ""
        yield f"and {len(alike) - _TOLD_MAX} of other kinds: see report.differences"
    yield from _advice(differences)


def _rows(task: str, cuts: Sequence[Cut], broken: AbstractSet[int]) -> Iterator[str]:
    """One line for each commit, with what came of each cut around it."""
    of_commits = [cut for cut in cuts if cut.at is not CutAt.CHECKPOINT]
    rows = [list(group) for _, group in groupby(of_commits, key=lambda cut: (cut.task, _row(cut)))]
    values = [_short(row[0].execution_metadata, _VALUE_MAX) if row[0].at.has_number else "" for row in rows]
    width = max(map(len, values), default=0)
    hidden = 0
    for number, (row, value) in enumerate(zip(rows, values, strict=True)):
        if number >= _ROWS_MAX and not any(id(cut) in broken for cut in row):
            hidden += 1
            continue
        cells = "".join(f"{_cell(cut)} {'DIFFERS' if id(cut) in broken else 'ok':<9}" for cut in row)
        whose = "" if row[0].task == task else f"of {row[0].task!r}"
        yield f"  {_row(row[0]):<12} {value:<{width}}  {cells}{whose}".rstrip()
    if hidden:
        yield f"  ...          {hidden} more like these, all ok"
    checkpoints = [cut for cut in cuts if cut.at is CutAt.CHECKPOINT]
    if checkpoints:
        hurt = sum(id(cut) in broken for cut in checkpoints)
        yield f"  checkpoints  {len(checkpoints) - hurt} ok{f', {hurt} DIFFER' if hurt else ''}"


def _alike(differences: Sequence[Difference]) -> list[list[Difference]]:
    """Those of the same kind of cut, on the same line, together; the first ones first."""
    kinds: dict[object, list[Difference]] = {}
    for each in differences:
        cut = each.cut
        kind = None if cut is None else (cut.task, cut.at, cut.line, bool(each.more), bool(each.missing))
        kinds.setdefault((kind, each.what), []).append(each)
    return list(kinds.values())


def _row(cut: Cut) -> str:
    return f"commit {cut.commit}" if cut.at.has_number else "result"


def _cell(cut: Cut) -> str:
    match cut.at:
        case CutAt.BEFORE_EFFECT:
            return "before its effect"
        case CutAt.AFTER_EFFECT:
            return "after its effect"
        case CutAt.AFTER_COMMIT | CutAt.AFTER_RESULT:
            return "after"
        case _:
            return "before"


def _told(difference: Difference) -> Iterator[str]:
    cut = difference.cut
    if cut is None:
        yield f"{difference.what}: {difference.after_cut}"
        return
    yield f"cut {cut}"
    if cut.line:
        yield f"  at {cut.line}"
    yield f"  {difference.what}"
    yield f"    uncut    {_short(difference.uncut)}"
    yield f"    cut      {_short(difference.after_cut)}"
    if difference.more:
        yield f"    more     {', '.join(difference.more)}"
    if difference.missing:
        yield f"    missing  {', '.join(difference.missing)}"


def _advice(differences: Sequence[Difference]) -> Iterator[str]:
    if any(each.more and not each.missing for each in differences):
        yield ""
        yield (
            "More than uncut: it was done before the commit, and again after the cut. Do it with "
            "execution.idempotency_key,\nor, in the store's own database, in the transaction of the commit: "
            "commit_with."
        )
    if any(each.missing and not each.more for each in differences):
        yield ""
        yield (
            "Less than uncut: the progress was committed before it was made, and the resumed run went on behind it.\n"
            "Commit after the effect, as commit_after does."
        )


def _minus(ours: object, theirs: object) -> tuple[str, ...]:
    if not (_has_parts(ours) and _has_parts(theirs)):
        return ()
    return tuple((Counter(_parts(ours)) - Counter(_parts(theirs))).elements())


def _has_parts(value: object) -> bool:
    return isinstance(value, (list, tuple, AbstractSet, Mapping))


def _parts(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        return (f"{key!r}: {each!r}" for key, each in cast("Mapping[object, object]", value).items())
    return map(repr, cast("Iterable[object]", value))


def _short(value: object, most: int = _CHARACTERS_MAX) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
