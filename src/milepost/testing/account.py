"""Which account of the machine a private server runs as: one's own, or as root an unprivileged one."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, frozen

from milepost.testing.binaries import NoPostgres, PostgresBinaries

_UNPRIVILEGED: Final = ("nobody", "postgres")
"""`nobody` first: `postgres` owns the data of a real server, where there is one."""


@frozen
class Account:
    """An account: `name` is None for the one that runs this program."""

    name: str | None
    uid: int
    gid: int

    def popen(self, command: Sequence[str | Path], *, cwd: str | Path, **streams: Any) -> subprocess.Popen[bytes]:
        """Start a program as this account, apart from the terminal, whose Ctrl-C is not for it."""
        other: dict[str, Any] = {}
        if self.name is not None:
            other = {"user": self.uid, "group": self.gid, "extra_groups": []}
        # What is meant for the user's own server is not for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen[bytes](command, cwd=cwd, env=environment, start_new_session=True, **other, **streams)

    def private_folder(self, *, prefix: str) -> Path:
        """A new temporary folder that only this account, and root, can enter."""
        temporary = Path(tempfile.gettempdir())
        # A path to a socket may have some 100 characters, and another account must get as far as the folder.
        if len(str(temporary)) > 60 or (self.name is not None and not _is_open(temporary)):
            temporary = Path("/tmp")
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=temporary))
        self.own(folder)
        return folder

    def own(self, path: Path) -> None:
        """Give a file of one's own to this account."""
        if self.name is not None:
            os.chown(path, self.uid, self.gid)

    def reachable(self, binaries: PostgresBinaries, folder: Path) -> PostgresBinaries:
        """The binaries where this account can run them: copied into `folder` if they are in somebody's private one."""
        if self.name is None or _is_open(binaries.bin):
            return binaries
        install, package = binaries.bin.parent, binaries.bin.parent.parent
        copies = folder / "postgres"
        shutil.copytree(install, copies / package.name / install.name, symlinks=True)
        # A wheel has the shared libraries beside its package, where the programs look for them.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copies / libraries.name, symlinks=True)
        for each in (copies, *copies.rglob("*")):
            if each.is_dir() and not each.is_symlink():
                self.own(each)  # so that it can remove what is in there
        return evolve(binaries, bin=copies / package.name / install.name / binaries.bin.name)


def server_account() -> Account:
    """The account for a private server: this program's own, unless that is root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return Account(None, os.geteuid(), os.getegid())
    for name in _UNPRIVILEGED:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(name, found.pw_uid, found.pw_gid)
    raise NoPostgres(
        "PostgreSQL refuses to run as root, and this machine has no account named"
        f" {' or '.join(_UNPRIVILEGED)} to run it as. Add one of them, or run this as another user"
    )


def _is_open(path: Path) -> bool:
    """Whether everybody can get to a file or folder."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))
