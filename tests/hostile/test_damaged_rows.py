"""Every column of every table is overwritten with nonsense: listings go on, and so does everybody else."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import psycopg
import pytest

from milepost import open_store
from tests.hostile.damage import VICTIMS, Damage, PostgresRows, Rows, SqliteRows, dealt
from tests.hostile.exercise import exercised
from tests.hostile.world import Lived, settled

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SEED = 20_261


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "milepost")


async def test_a_damaged_field_in_a_sqlite_file_disturbs_nobody(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.db", tmp_path / "torn.db"
    async with open_store(f"sqlite:///{whole}") as store:
        lived = await settled(store)
    rows = SqliteRows.at(str(whole))
    complaints: list[str] = []
    done = 0
    for case in cases_of(rows, lived):
        copy(whole, torn)
        below = SqliteRows.at(str(torn))
        done += damaged(below, lived, case)
        below.database.close()
        async with open_store(f"sqlite:///{torn}") as store:
            complaints += [f"{said} after {[str(each) for _, each in case]}" for said in await exercised(store, lived)]
    assert complaints == []
    assert done > 700


async def test_a_damaged_field_in_a_postgresql_database_disturbs_nobody(postgres_url: str) -> None:
    complaints: list[str] = []
    done = 0
    async with open_store(postgres_url) as store:
        lived = await settled(store)
    async with open_store(postgres_url) as store:
        database = psycopg.connect(postgres_url, autocommit=True)
        rows = PostgresRows(database)
        keep_aside(database)
        for case in cases_of(rows, lived):
            restore(database)
            done += damaged(rows, lived, case)
            said = await exercised(store, lived)
            complaints += [f"{each} after {[str(damage) for _, damage in case]}" for each in said]
        database.close()
    assert complaints == []
    assert done > 500


def cases_of(rows: Rows, lived: Lived) -> list[list[tuple[int, Damage]]]:
    """All that is to be damaged, in as few stores as there are rows for."""
    many = {table: len(rows.keys(table, lived)) for table in VICTIMS}
    assert all(many.values())
    return dealt(rows.columns(), many, SEED)


def damaged(rows: Rows, lived: Lived, case: list[tuple[int, Damage]]) -> int:
    """Overwrite what the case names; gives how much of it the database let happen."""
    keys = {table: rows.keys(table, lived) for table in VICTIMS}
    return sum(rows.overwrite(damage, keys[damage.column.table][row]) for row, damage in case)


def copy(whole: Path, torn: Path) -> None:
    """A fresh file in the place of what the last case left."""
    for left in torn.parent.glob(f"{torn.name}*"):
        left.unlink()
    shutil.copy(whole, torn)


def keep_aside(database: psycopg.Connection[object]) -> None:
    """Copy every table, to have it back after each case."""
    for table in (*VICTIMS,):
        database.execute(f"create table public.{table} as table milepost.{table}".encode())


def restore(database: psycopg.Connection[object]) -> None:
    """Everything as it was kept aside."""
    for table in VICTIMS:
        database.execute(f"delete from milepost.{table}".encode())
        database.execute(f"insert into milepost.{table} overriding system value table public.{table}".encode())
