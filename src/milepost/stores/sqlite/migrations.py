"""The schema's versions: which one a file has, and the numbered scripts in `migrations` that bring it forward."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from milepost.errors import SchemaNewer, SchemaOld
from milepost.stores.sqlite.driver import Connection, Place

_FOLDER: Final = files("milepost.stores.sqlite") / "migrations"
_SCRIPTS: Final = tuple(sorted(entry.name for entry in _FOLDER.iterdir() if entry.name.endswith(".sql")))

SCHEMA_VERSION: Final = len(_SCRIPTS)
_VERSION_TABLE: Final = """create table if not exists milepost_schema (
  version integer primary key,
  applied_at integer not null
) strict"""

_APPLIED: Final = "insert into milepost_schema (version, applied_at) values (?, strftime('%s', 'now') * 1000000)"


def is_current(connection: Connection, place: Place) -> bool:
    """Whether the file's schema is this version's; if not, whether it may be migrated is decided here, by raising."""
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise SchemaNewer(
            f"{place.path} has schema version {version}, made by a newer milepost; this one knows {SCHEMA_VERSION}: "
            "upgrade milepost, nothing was changed"
        )
    if version == SCHEMA_VERSION:
        return True
    if place.read_only or not place.migrate:
        raise schema_old(place, version)
    return False


def schema_old(place: Place, version: int) -> SchemaOld:
    """The refusal to use, or to make, a file without migrating it."""
    has = f"has schema version {version}" if version else "has no tables of milepost"
    why = "it was opened with `mode=ro`" if place.read_only else "migrating was not allowed"
    return SchemaOld(
        f"{place.path} {has}, version {SCHEMA_VERSION} is needed, and {why}; open it once with migrate=True"
    )


def migrate(connection: Connection, place: Place) -> None:
    """Bring the schema forward in one transaction; of several who try at once, the first does it for all."""
    connection.execute("begin immediate")
    try:
        if not is_current(connection, place):
            connection.execute(_VERSION_TABLE)
            for number in range(schema_version(connection) + 1, SCHEMA_VERSION + 1):
                _apply(connection, number)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def migration_sql(*, above: int = 0) -> str:
    """The scripts above version `above`, as a file's owner would run them by hand."""
    steps = (
        f"begin immediate;\n{_VERSION_TABLE};\n{_script(number)}\n{_APPLIED.replace('?', str(number))};\ncommit;\n"
        for number in range(above + 1, SCHEMA_VERSION + 1)
    )
    return "\n".join(steps)


def _script(number: int) -> str:
    return (_FOLDER / _SCRIPTS[number - 1]).read_text(encoding="utf-8")


def _apply(connection: Connection, number: int) -> None:
    for sql in _script(number).split(";\n"):
        if sql.strip():
            connection.execute(sql)
    connection.execute(_APPLIED, (number,))


def schema_version(connection: Connection) -> int:
    """The newest version that was applied, 0 without any."""
    if not connection.execute("select 1 from sqlite_master where type = 'table' and name = 'milepost_schema'"):
        return 0
    ((version,),) = connection.execute("select coalesce(max(version), 0) from milepost_schema")
    return int(version)
