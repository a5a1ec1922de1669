"""Effects on the store's own database: as values that a result carries, and the transaction that runs them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, final

from attrs import field, frozen

Parameters: TypeAlias = Sequence[object] | Mapping[str, object]


def _kept(parameters: Parameters) -> Parameters:
    return dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters)


@final
@frozen
class Statement:
    """One SQL statement as a value, with the driver's placeholders: `?` or `:name` on SQLite, `%s` on PostgreSQL.

    `parameters` is a tuple or a mapping; `rows` stands in its place for a statement that runs once for each of several.

    >>> Statement("insert into symbol values (?, ?)", ["trio", 1]).parameters
    ('trio', 1)
    >>> Statement.many("insert into symbol values (?)", [("a",), ("b",)]).rows
    (('a',), ('b',))
    """

    sql: str
    parameters: Parameters = field(default=(), converter=_kept)
    rows: tuple[Parameters, ...] | None = field(default=None, kw_only=True)

    @classmethod
    def many(cls, sql: str, rows: Iterable[Parameters]) -> Statement:
        """The same statement once for each of `rows`, in order."""
        return cls(sql, rows=tuple(_kept(row) for row in rows))

    def each(self) -> tuple[Parameters, ...]:
        """The parameters of each execution, in order."""
        return (self.parameters,) if self.rows is None else self.rows


class Transaction(Protocol):
    """An open transaction of the store, given to the effect of `commit_with`.

    The effect may be called again after a rollback, so it should touch nothing else, and neither commit nor roll back.
    """

    @property
    def connection(self) -> Any:
        """The driver's own connection: apsw, sqlite3 or psycopg. On the memory store there is none: `None`."""
        ...

    def execute(self, sql: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return all its rows; the driver's own exception says what was wrong."""
        ...
