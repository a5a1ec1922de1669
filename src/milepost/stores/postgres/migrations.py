"""The schema's versions: which one a database has, and the numbered scripts in `migrations` that bring it forward.

Each script is one transaction, recorded in `milepost_schema`; of several programs that migrate at once, an advisory
lock lets the first do it for all. `{schema}` in a script stands for the quoted name of the schema.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from milepost.errors import SchemaNewer, SchemaOld, StoreUnreachable
from milepost.stores.postgres.faults import translated
from milepost.stores.postgres.place import Place

Connection: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

_FOLDER: Final = files("milepost.stores.postgres") / "migrations"
_SCRIPTS: Final = tuple(sorted(entry.name for entry in _FOLDER.iterdir() if entry.name.endswith(".sql")))

SCHEMA_VERSION: Final = len(_SCRIPTS)
# Not `create schema if not exists`: that wants the right to create it even where its owner has done so already.
_FIRST: Final = """do $milepost$ begin
  if to_regnamespace({name}) is null then create schema {schema}; end if;
end $milepost$;
create table if not exists {schema}.milepost_schema (
  version integer primary key,
  applied_at timestamptz not null default clock_timestamp()
)"""
_HAS_VERSIONS: Final = "select from pg_catalog.pg_tables where schemaname = %s and tablename = 'milepost_schema'"
_LOCK: Final = "select pg_advisory_xact_lock({number})"
_APPLIED: Final = "insert into {schema}.milepost_schema (version) values ({number})"


def is_current(connection: Connection, place: Place) -> bool:
    """Whether the schema is this version's; if not, whether it may be migrated is decided here, by raising."""
    version = schema_version(connection, place.schema)
    if version > SCHEMA_VERSION:
        raise SchemaNewer(
            f"the schema {place.schema} of {place.url} has version {version}, made by a newer milepost; this one knows "
            f"{SCHEMA_VERSION}: upgrade milepost, nothing was changed"
        )
    if version < SCHEMA_VERSION and not place.migrate:
        has = f"has version {version}" if version else "has no tables of milepost"
        raise SchemaOld(
            f"the schema {place.schema} of {place.url} {has}, version {SCHEMA_VERSION} is needed, and migrating was "
            "not allowed; open it once with migrate=True"
        )
    return version == SCHEMA_VERSION


def schema_version(connection: Connection, schema: str) -> int:
    """The newest version that was applied, 0 without any."""
    # A cursor of its own: a caller's connection may have factories. Not `to_regclass`, which
    # answers from what the server's process remembers, and that may be older than a lock that was waited for.
    with translated(), psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        if not cursor.execute(_HAS_VERSIONS, [schema]).fetchall():
            return 0
        cursor.execute(_formed("select coalesce(max(version), 0) from {schema}.milepost_schema", schema))
        return int((cursor.fetchone() or (0,))[0])


def migrate(connection: Connection, place: Place) -> None:
    """Bring the schema forward, one transaction for each version."""
    try:
        with translated():
            while not is_current(connection, place):
                # Read anew under the lock: somebody else may have applied it while this program waited for its turn.
                with connection.transaction():
                    connection.execute("set local lock_timeout = 0")
                    connection.execute("set local statement_timeout = 0")
                    connection.execute(_formed(_LOCK, place.schema))
                    version = schema_version(connection, place.schema)
                    if version < SCHEMA_VERSION:
                        connection.execute(_script(version + 1, place.schema).encode())
    except StoreUnreachable as fault:
        raise _without_rights(fault, connection, place) from fault


def migration_sql(schema: str, *, above: int = 0) -> str:
    """The scripts above version `above`, as a database's owner would run them by hand."""
    steps = (
        f"begin;\n{_text(_LOCK, schema)};\n{_script(number, schema)};\ncommit;\n"
        for number in range(above + 1, SCHEMA_VERSION + 1)
    )
    return "\n".join(steps)


def _script(number: int, schema: str) -> str:
    script = (_FOLDER / _SCRIPTS[number - 1]).read_text(encoding="utf-8").strip().removesuffix(";")
    first = f"{_text(_FIRST, schema)};\n" if number == 1 else ""
    return f"{first}{_text(script, schema)};\n{_text(_APPLIED, schema, number)}"


def _formed(text: str, schema: str) -> bytes:
    return _text(text, schema).encode()


def _text(text: str, schema: str, number: int | None = None) -> str:
    # Not `str.format`: a script may have braces of its own.
    own = _lock_number(schema) if number is None else number
    name = sql.Literal(_quoted(schema)).as_string()
    return text.replace("{name}", name).replace("{number}", str(own)).replace("{schema}", _quoted(schema))


def _quoted(schema: str) -> str:
    return sql.Identifier(schema).as_string()


def _lock_number(schema: str) -> int:
    """The advisory lock that belongs to migrating this schema."""
    return int.from_bytes(hashlib.sha256(f"milepost:{schema}".encode()).digest()[:8], "big", signed=True)


def _without_rights(fault: StoreUnreachable, connection: Connection, place: Place) -> StoreUnreachable:
    cause = fault.__cause__
    if not isinstance(cause, psycopg.errors.InsufficientPrivilege):
        return fault
    user, database = _quoted(connection.info.user), _quoted(connection.info.dbname)
    return StoreUnreachable(
        f"{user} may not make milepost's tables in {place.url}: GRANT CREATE ON DATABASE {database} TO {user}, or "
        f"CREATE ON SCHEMA {_quoted(place.schema)} if it is there, or have the owner run `milepost db migrate --print` "
        f"(PostgreSQL: {cause})"
    )
