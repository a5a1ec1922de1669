"""What may stand between a program and PostgreSQL: a network that breaks at the worst moment, and a pooler."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, final
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_QUERY_ENDS = b"QS"


class _Place(NamedTuple):
    host: str
    port: int


def over_tcp(server: Any) -> str:
    """The URL of a fresh database of `server` on a port, for those who stand between."""
    return str(server.tcp_url(conninfo_to_dict(server.create_database())["dbname"]))


@final
class Proxy:
    """Passes bytes on, until told to lose some. `lose_commit` holds for the next COMMIT only."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = _Place(parts.hostname or "127.0.0.1", parts.port or 5432)
        self._netloc = parts.netloc.rpartition("@")[0]
        self._rest = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listening]
        self.lose_commit = ""
        """`before` it reaches the server, or `after` it was done."""
        self.gate = threading.Event()
        """While it is cleared, new connections are taken and not served."""
        self.gate.set()
        self._silenced = 0

    @property
    def url(self) -> str:
        """The target's URL, by way of this."""
        user = f"{self._netloc}@" if self._netloc else ""
        return f"postgresql://{user}127.0.0.1:{self._listening.getsockname()[1]}{self._rest}"

    def run(self) -> None:
        """Until closed."""
        with suppress(OSError):
            while True:
                client = _prompt(self._listening.accept()[0])
                self._sockets.append(client)
                self.gate.wait()
                server = _prompt(socket.create_connection(self._target))
                self._sockets.append(server)
                lost = threading.Event()
                threading.Thread(target=self._upward, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=self._downward, args=(client, server, lost), daemon=True).start()

    def silence(self) -> None:
        """From now on nothing that the server says on the connections of now is passed on; none of them is closed."""
        self._silenced = len(self._sockets)

    def close(self) -> None:
        """Break every connection."""
        self.gate.set()
        for each in self._sockets:
            _shut(each)

    def _upward(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                mode = self.lose_commit
                if mode and b"commit\0" in data:
                    self.lose_commit = ""
                    lost.set()
                    if mode == "before":
                        break
                server.sendall(data)
        _shut(server)  # which ends the other direction too

    def _downward(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        number = self._sockets.index(server)
        with suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    break
                if number >= self._silenced:
                    client.sendall(data)
        _shut(client)
        _shut(server)


@contextmanager
def broken_network(target: str) -> Generator[Proxy]:
    """A `Proxy` to the server of `target`, running."""
    proxy = Proxy(target)
    with _running(proxy.run, proxy.close):
        yield proxy


@final
class Pooler:
    """Stands in for PgBouncer in transaction mode: refuses `options`, and gives each transaction another session."""

    def __init__(self, target: str, *, ignores_options: bool) -> None:
        self._target = conninfo_to_dict(target)
        self._ignores_options = ignores_options
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listening]
        self._current: dict[bytes, bytes] = {}
        self.refusals = 0
        self.switches = 0

    def url(self, *options: str) -> str:
        """The target's URL, by way of this."""
        place = f"127.0.0.1:{self._listening.getsockname()[1]}/{self._target['dbname']}"
        return f"postgresql://{self._target['user']}@{place}?{'&'.join(options)}"

    def run(self) -> None:
        """Until closed."""
        with suppress(OSError):
            while True:
                client = _prompt(self._listening.accept()[0])
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Break every connection."""
        for each in self._sockets:
            _shut(each)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError, EOFError, ValueError):  # `select` calls a socket that was closed meanwhile a ValueError
            startup = self._greet(client)
            if startup is not None:
                servers = [self._connect(startup) for _ in range(2)]
                key = struct.pack("!II", 4_000_000_000, len(self._current))
                client.sendall(servers[0][1].replace(servers[0][2], key))
                self._converse(client, [(server, own_key) for server, _, own_key in servers], key)
        _shut(client)

    def _greet(self, client: socket.socket) -> bytes | None:
        body = _startup(client)
        if struct.unpack("!I", body[:4])[0] == _CANCEL_REQUEST:
            with self._dial() as server:
                server.sendall(struct.pack("!II", 16, _CANCEL_REQUEST) + self._current[body[4:]])
                server.recv(1)
            return None
        if b"\0options\0" in body:
            if not self._ignores_options:
                self.refusals += 1
                client.sendall(_error("08P01", "unsupported startup parameter: options"))
                return None
            before, _, after = body.partition(b"\0options\0")
            body = before + b"\0" + after.partition(b"\0")[2]
        return struct.pack("!I", 4 + len(body)) + body

    def _dial(self) -> socket.socket:
        host, port = str(self._target["host"]), int(str(self._target.get("port") or 5432))
        if not host.startswith("/"):
            return _prompt(socket.create_connection((host, port)))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _connect(self, startup: bytes) -> tuple[socket.socket, bytes, bytes]:
        server = self._dial()
        self._sockets.append(server)
        server.sendall(startup)
        said, key = b"", b""
        while not said.endswith(b"Z\0\0\0\x05I"):
            head = _exactly(server, 5)
            body = _exactly(server, struct.unpack("!I", head[1:])[0] - 4)
            said += head + body
            key = body if head[:1] == b"K" else key
        return server, said, key

    def _converse(self, client: socket.socket, servers: list[tuple[socket.socket, bytes]], key: bytes) -> None:
        turn, unanswered = 0, 0
        while True:
            server, self._current[key] = servers[turn]
            for ready in select.select([client, server], [], [])[0]:
                head = _exactly(ready, 5)
                body = _exactly(ready, struct.unpack("!I", head[1:])[0] - 4)
                (server if ready is client else client).sendall(head + body)
                if ready is client:
                    unanswered += head[:1] in _QUERY_ENDS
                elif head[:1] == b"Z":
                    unanswered -= 1
                    if unanswered == 0 and body == b"I":
                        turn = 1 - turn
                        self.switches += 1
                        break


@contextmanager
def pooled(target: str, *, ignores_options: bool = False) -> Generator[Pooler]:
    """A `Pooler` before the server of `target`, which must ask for no password; running."""
    pooler = Pooler(target, ignores_options=ignores_options)
    with _running(pooler.run, pooler.close):
        yield pooler


@contextmanager
def refusing_server(code: str, message: str) -> Generator[int]:
    """A server that asks for a password and then refuses the login; gives its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with suppress(OSError):
            while True:
                with listening.accept()[0] as client, suppress(OSError, EOFError):
                    _startup(client)
                    client.sendall(b"R" + struct.pack("!II", 8, 3))
                    _exactly(client, 5)
                    client.sendall(_error(code, message))

    with _running(run, lambda: _shut(listening)):
        yield listening.getsockname()[1]


@contextmanager
def _running(run: Callable[[], None], close: Callable[[], None]) -> Generator[None]:
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        close()
        thread.join()


def _startup(client: socket.socket) -> bytes:
    """The body of a client's first message that is no question about encryption."""
    while True:
        body = _exactly(client, struct.unpack("!I", _exactly(client, 4))[0] - 4)
        if struct.unpack("!I", body[:4])[0] not in (_SSL_REQUEST, _GSS_REQUEST):
            return body
        client.sendall(b"N")


def _error(code: str, message: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + struct.pack("!I", 4 + len(fields)) + fields


def _prompt(each: socket.socket) -> socket.socket:
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return each


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
