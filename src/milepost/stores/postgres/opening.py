"""Connections ready for use: opened, checked, set up, and the schema brought up to date.

Settings go along with the start of a connection, which costs nothing. A pooler such as PgBouncer refuses or drops them,
and in transaction mode whatever a session sets or prepares is another's with the next transaction: then the settings
are set within each transaction, and nothing is prepared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Final, TypeAlias, final

import psycopg
from attrs import frozen
from psycopg import sql
from psycopg.conninfo import make_conninfo

from milepost.errors import StoreError, StoreUnreachable
from milepost.stores.postgres.faults import translated
from milepost.stores.postgres.migrations import is_current, migrate, schema_version
from milepost.stores.postgres.patience import PatientConnection, answer_seconds
from milepost.stores.postgres.place import Place

SERVER_VERSION_MIN: Final = 14
"""The oldest major version that PostgreSQL's own project still supported when milepost was first tried on it."""

_MARK: Final = "milepost.direct"
_REFUSED_BY_POOLER: Final = re.compile("startup parameter|command-line options|startup option", re.IGNORECASE)

_Why: TypeAlias = tuple[re.Pattern[str], str]
# A connection that was refused has no error code, only the server's words.
_WHYS: Final[tuple[_Why, ...]] = (
    (
        re.compile("password|authentication|SASL|pg_hba|role .* does not exist"),
        "refused the login; check its user and password",
    ),
    (re.compile("database .* does not exist"), "has no such database; create it first"),
    (re.compile("too many|connection slots|max_client_conn"), "has no connection left; raise its limit or lower yours"),
    (re.compile("starting up|shutting down|recovery"), "is starting or stopping; try again"),
    (re.compile("SSL|certificate"), "and this program do not agree on TLS; check sslmode and its certificates"),
    (re.compile("resolve|translate host|Name or service"), "has a host name that is not known; check it"),
)


@final
@frozen
class Opened:
    """A connection, and what has to be known to use it."""

    connection: PatientConnection
    settings: Mapping[str, str]
    """What each transaction must set by itself; empty on a connection that keeps its settings."""

    @property
    def is_pooled(self) -> bool:
        """Whether something between here and the server gives each transaction a session of its own."""
        return bool(self.settings)


def open_connection(place: Place, more: Mapping[str, str] = MappingProxyType({})) -> Opened:
    """A connection in autocommit mode to a server and a schema that this version can use.

    `more` are settings beside those of `place`, which the URL can overrule as well.
    """
    settings = {**more, **place.settings}
    connection = _connect(place, settings)
    try:
        check_version(connection.info.server_version, place)
        with translated():
            mark = connection.execute("select current_setting(%s, true)", [_MARK]).fetchone()
        opened = Opened(connection, {} if mark == ("on",) else settings)
        if opened.is_pooled:
            connection.prepare_threshold = None
        if not is_current(connection, place):
            limit, connection.answer_seconds = connection.answer_seconds, None  # a migration takes what it takes
            migrate(connection, place)
            connection.answer_seconds = limit
    except BaseException:
        connection.close()
        raise
    return opened


def schema_version_at(place: Place) -> int:
    """The version of the schema, 0 without one; nothing is changed."""
    with closing(_connect(place, place.settings)) as connection:
        check_version(connection.info.server_version, place)
        return schema_version(connection, place.schema)


def check_version(version: int, place: Place) -> None:
    """Refuse a server that is too old; `version` as libpq tells it, such as 150004."""
    if version < SERVER_VERSION_MIN * 10_000:
        found = f"{version // 10_000}.{version % 10_000}"
        raise StoreError(
            f"the server at {place.url} is PostgreSQL {found}; milepost needs {SERVER_VERSION_MIN} or newer: upgrade it"
        )


def set_local(settings: Mapping[str, str]) -> str:
    """Statements that set `settings` for the rest of the transaction."""
    pairs = ((sql.Identifier(*name.split(".")), sql.Literal(value)) for name, value in settings.items())
    return "".join(sql.SQL("set local {} = {}; ").format(name, value).as_string() for name, value in pairs)


def _connect(place: Place, settings: Mapping[str, str]) -> PatientConnection:
    connection = _reach(place, settings)
    connection.answer_seconds = answer_seconds(place.statement_timeout)
    return connection


def _reach(place: Place, settings: Mapping[str, str]) -> PatientConnection:
    startup = {**settings, _MARK: "on"}
    options = " ".join(f"-c {name}={_escaped(value)}" for name, value in startup.items())
    try:
        return _dial({**place.conninfo, "options": f"{place.conninfo.get('options', '')} {options}"})
    except psycopg.OperationalError as error:
        if not _REFUSED_BY_POOLER.search(str(error)):
            raise _unreachable(error, place) from error
    try:
        return _dial({name: value for name, value in place.conninfo.items() if name != "options"})
    except psycopg.OperationalError as error:
        raise _unreachable(error, place) from error


def _dial(conninfo: Mapping[str, str]) -> PatientConnection:
    return PatientConnection.connect(make_conninfo(**conninfo), autocommit=True)


def _escaped(value: str) -> str:
    return re.sub(r"([\\ ])", r"\\\1", value)


def _unreachable(error: psycopg.OperationalError, place: Place) -> StoreUnreachable:
    said = str(error).strip()
    why = next(
        (why for pattern, why in _WHYS if pattern.search(said)), "cannot be reached; check host, port and network"
    )
    return StoreUnreachable(f"{place.url} {why} (PostgreSQL: {' '.join(said.split())})")
