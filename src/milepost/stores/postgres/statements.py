"""The SQL of this package: one statement per file in `queries`, with the name of the schema put in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Final

from psycopg import sql

from milepost.stores.postgres.rows import RECORD

_FOLDER: Final = files("milepost.stores.postgres") / "queries"
_NAMES: Final = tuple(entry.name.removesuffix(".sql") for entry in _FOLDER.iterdir() if entry.name.endswith(".sql"))
_SCHEMAS_KEPT: Final = 8

PLANNING: Final[Mapping[str, str]] = MappingProxyType(
    {"jit": "off", "plan_cache_mode": "force_generic_plan"}
    | {f"enable_{way}": "off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")}
)
"""Settings for connections that run turns. Each statement of a turn names a few rows and reaches them through indexes.
A plan that was made while the table was empty, and is kept, would read it whole; so would one that was made from the
statistics of an hour ago; and to plan a claim takes as long as to carry it out. Locks are taken in the order in which
rows are named, which only nested loops keep."""


@lru_cache(_SCHEMAS_KEPT)
def statements(schema: str) -> Mapping[str, bytes]:
    """The statement in each `queries/NAME.sql`, by name."""
    return MappingProxyType({name: _statement(name, schema) for name in _NAMES})


def formed(text: str, schema: str) -> bytes:
    """`text` with the quoted schema for `{schema}`, and the columns of a record for `{record}`."""
    # Not `str.format`: statements may have braces of their own.
    return text.replace("{record}", RECORD).replace("{schema}", sql.Identifier(schema).as_string()).encode()


def _statement(name: str, schema: str) -> bytes:
    lines = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return formed("\n".join(line for line in lines if not line.lstrip().startswith("--")), schema)
