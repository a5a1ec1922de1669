"""A PostgreSQL server of one's own, for tests and for the demo: made in a temporary folder, gone afterwards.

Nothing of it outlives the program that started it, not even when that program is killed. `binaries` finds what is
started here.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, final
from urllib.parse import quote

from attrs import frozen

from milepost.testing.account import Account, server_account
from milepost.testing.binaries import NoPostgres, PostgresBinaries, find_postgres, newest_postgres

__all__ = ["NoPostgres", "PostgresBinaries", "PostgresServer", "ServerFailed", "find_postgres", "private_postgres"]

StopMode: TypeAlias = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS: Final[Mapping[StopMode, signal.Signals]] = MappingProxyType(
    {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
)
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.005
_PORT_TRIES: Final = 5
_SETTINGS: Final = MappingProxyType(
    {
        # Only a power cut needs these, and no power cut is waited for here.
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": "200",
        "max_wal_size": "256MB",
        "lc_messages": "C",
    }
)

# Reads until whoever has the other end is gone, then ends the server that is left and its folder. A shell, because it
# runs as the account of the server, which may not be able to read this Python.
_WATCHMAN: Final = """
read -r _
if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
    kill -QUIT "$pid"; kill -CONT "$pid"
    tries=0
    while kill -0 "$pid" && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
    kill -KILL "$pid"
fi 2>/dev/null
rm -rf "$1"
"""


class ServerFailed(Exception):
    """The private server cannot do what it was asked; the message has what PostgreSQL said."""


@contextmanager
def private_postgres(
    binaries: PostgresBinaries | None = None, *, settings: Mapping[str, str] = MappingProxyType({})
) -> Generator[PostgresServer]:
    """A running server with an empty cluster in a temporary folder; stopped and removed at the end of the block.

    `binaries` are the newest of `find_postgres()` unless given. `settings` are lines of postgresql.conf, beyond those
    that make it quick, which it may take back: data is not synced to the disk unless `fsync` is "on".
    Started by root, the server runs as another account, since PostgreSQL refuses root.
    Raises `NoPostgres` where there are no binaries, and `ServerFailed` if the server does not start.
    """
    chosen = newest_postgres() if binaries is None else binaries
    account = server_account()
    folder = account.private_folder(prefix="milepost-postgres-")
    try:
        with _watched(folder, account):
            cluster = Cluster.make(account.reachable(chosen, folder), account, folder, {**_SETTINGS, **settings})
            server = _started(cluster)
            try:
                yield server
            finally:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@frozen
class Cluster:
    """The files of a server: what runs them, as whom, where, and the password of the superuser `postgres`."""

    binaries: PostgresBinaries
    account: Account
    folder: Path
    password: str

    @classmethod
    def make(cls, binaries: PostgresBinaries, account: Account, folder: Path, settings: Mapping[str, str]) -> Cluster:
        """A new and empty cluster in `folder`."""
        cluster = cls(binaries, account, folder, secrets.token_urlsafe(16))
        secret = folder / "password"
        secret.write_text(cluster.password)
        account.own(secret)
        # C.UTF-8 is not on every system, and what depends on a locale would depend on the machine.
        sorting = ["--encoding=UTF8", "--locale=C"]
        access = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}", "--username=postgres"]
        cluster.run("initdb", "--no-sync", "--pgdata", str(cluster.data), *sorting, *access)
        secret.unlink()
        lines = {"listen_addresses": "127.0.0.1", "logging_collector": "off", **settings}
        with (cluster.data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{_quoted(value)}'\n" for name, value in lines.items())
        return cluster

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def run(self, program: str, *arguments: str) -> str:
        """What the program prints. Raises `ServerFailed` with its complaint."""
        process = self.account.popen(
            [self.binaries.bin / program, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        said, complaint = (part.decode("utf-8", "replace").strip() for part in process.communicate())
        if process.returncode != 0:
            raise ServerFailed(f"{program} of PostgreSQL {self.binaries.version} failed:\n{complaint or said}")
        return said


@final
class PostgresServer:
    """A private server that listens on a socket in its own folder and on a port of 127.0.0.1.

    The socket is for whoever may enter the folder: the account that made it. The port asks for a password.
    """

    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster = cluster
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)

    @property
    def version(self) -> int:
        """The major version."""
        return self._cluster.binaries.version

    @property
    def folder(self) -> Path:
        """Where the socket is, and everything else."""
        return self._cluster.folder

    @property
    def port(self) -> int:
        """The port of 127.0.0.1; the same after a restart."""
        return self._port

    @property
    def pid(self) -> int:
        """The process of the running server. Raises `ServerFailed` while it is stopped."""
        if self._process is None:
            raise ServerFailed("the server is stopped, so it has no process")
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the server has said since it was made."""
        file = self._cluster.log
        return file.read_text("utf-8", "replace") if file.exists() else ""

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, over the socket."""
        return f"postgresql://postgres@/{quote(database, '')}?host={quote(str(self.folder), '')}&port={self._port}"

    def tcp_url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """The URL of a database over TCP, with the password; `port` is that of a proxy between."""
        return f"postgresql://postgres:{self._cluster.password}@127.0.0.1:{port or self._port}/{quote(database, '')}"

    def create_database(self) -> str:
        """Make a fresh and empty database, and give its URL over the socket."""
        name = f"fresh_{next(self._names)}"
        self.run_sql(f"create database {name}")
        return self.url(name)

    def run_sql(self, *statements: str, database: str = "postgres") -> str:
        """Run statements as the superuser, each in a transaction of its own; what psql prints of their results."""
        commands = [part for statement in statements for part in ("-c", statement)]
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database)]
        return self._cluster.run("psql", *options, *commands)

    def stop(self, mode: StopMode = "immediate") -> None:
        """Stop the server, and return when it is gone; nothing if it is stopped already.

        "immediate" is like a crash: no goodbye to any client, and the next start recovers. "fast" undoes what is
        open, and "smart" waits for all clients to leave.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(_STOP_SIGNALS[mode])
        process.send_signal(signal.SIGCONT)  # a test may have frozen it
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            if mode != "smart":
                raise ServerFailed(f"PostgreSQL did not stop within {_STOP_SECONDS:g} seconds:\n{self.log}") from None

    def start(self) -> None:
        """Start the server again, on the same port, and return when it takes connections."""
        if self._process is not None:
            raise ServerFailed("the server is running already")
        cluster = self._cluster
        command = [str(cluster.binaries.bin / "postgres"), "-D", str(cluster.data), "-k", str(self.folder)]
        with cluster.log.open("ab") as log:
            self._process = cluster.account.popen(
                [*command, "-p", str(self._port)], cwd=self.folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_SECONDS)
            if self._process.returncode is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                self._process = None
                raise ServerFailed(f"PostgreSQL {self.version} in {cluster.binaries.bin} does not start:\n{self.log}")

    def restart(self, mode: StopMode = "fast") -> None:
        """`stop(mode)` and `start()`."""
        self.stop(mode)
        self.start()

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        # The file of a server that was killed may still be there; its process is another.
        mine = self._process is not None and lines[:1] == [str(self._process.pid)]
        return mine and len(lines) > 7 and lines[7].strip() == "ready"


def _started(cluster: Cluster) -> PostgresServer:
    """The cluster's server, on a port that nobody else took meanwhile."""
    tries = 0
    while True:
        server = PostgresServer(cluster, _free_port())
        try:
            server.start()
        except ServerFailed:
            tries += 1
            if tries >= _PORT_TRIES or "in use" not in server.log:
                raise
        else:
            return server


@contextmanager
def _watched(folder: Path, account: Account) -> Generator[None]:
    """Let nothing be left of the folder's server when this process ends, whatever ends it."""
    process = account.popen(["/bin/sh", "-c", _WATCHMAN, "watchman", folder], cwd="/", stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _quoted(value: str) -> str:
    return value.replace("'", "''")
