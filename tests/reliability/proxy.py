"""A network between a store and PostgreSQL that a test commands: it cuts, holds back, loses, delays, and loses replies.

Threads only move bytes. Of PostgreSQL's protocol they understand as much as it takes to see a COMMIT answered: the
first message of a client has no kind, and each message after it has a byte for its kind and four for its length.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, final
from urllib.parse import urlsplit

_ENCRYPTION_ASKED: Final = (80877103, 80877104)
_COMMAND_COMPLETE, _COMMIT = b"C", b"COMMIT\0"
_CHUNK_BYTES: Final = 65536


class Message(NamedTuple):
    """Where one message of the server lies in what it sent."""

    kind: bytes
    body: bytes
    start: int
    end: int


def whole_messages(data: bytes) -> Iterator[Message]:
    """The messages that have arrived whole, in order."""
    start = 0
    while start + 5 <= len(data):
        end = start + 1 + struct.unpack_from("!I", data, start + 1)[0]
        if end > len(data):
            return
        yield Message(data[start : start + 1], data[start + 5 : end], start, end)
        start = end


def never() -> bool:
    """Lose no reply."""
    return False


@final
class Link:
    """One connection of a client, and the proxy's own to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.is_silent = False

    def cut(self) -> None:
        """Close both sides."""
        for each in (self.client, self.server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@final
class Proxy:
    """Passes bytes on to the server, as its attributes and methods say; all may be used from any thread.

    `loses_commit` is asked at each COMMIT that the server has answered: True cuts the link before the answer is passed
    on. `refuses` closes new connections at once. `delay_seconds` is how long each piece is on its way. `seen` counts
    the COMMITs that were `passed` on or `lost`, and the `links` there have been.
    """

    def __init__(self, host: str, port: int, *, at: str = "127.0.0.1") -> None:
        self.loses_commit: Callable[[], bool] = never
        self.refuses = False
        self.delay_seconds = 0.0
        self.seen: Counter[str] = Counter()
        self._target = (host, port)
        self._at = at
        self._listening = socket.create_server((at, 0))
        self._links: list[Link] = []
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()

    def url(self, direct: str) -> str:
        """The URL `direct`, by way of this."""
        parts = urlsplit(direct)
        user, at, _ = parts.netloc.rpartition("@")
        query = f"?{parts.query}" if parts.query else ""
        return f"{parts.scheme}://{user}{at}{self._at}:{self._listening.getsockname()[1]}{parts.path}{query}"

    def cut(self) -> int:
        """Close the links that there are, and tell how many; new ones are taken."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.cut()
        return len(links)

    def hold(self) -> None:
        """A network that is gone for a while: nothing moves, nothing is closed, and nothing is lost either."""
        self._flowing.clear()

    def flow(self) -> None:
        """The network is back: what was held back arrives now, however late."""
        self._flowing.set()

    def silence(self) -> int:
        """Half-open: the links that there are stay open and carry nothing any more; new ones do. Tells how many."""
        with self._lock:
            for link in self._links:
                link.is_silent = True
            return len(self._links)

    def close(self) -> None:
        """Cut everything and take no more."""
        self._closing.set()
        self._flowing.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def run(self) -> None:
        """Take connections until closed."""
        with suppress(OSError):
            while not self._closing.is_set():
                client = _prompt(self._listening.accept()[0])
                if self.refuses:
                    client.close()
                else:
                    _start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = _prompt(socket.create_connection(self._target))
        except OSError:
            client.close()
            return
        link = Link(client, server)
        with self._lock:
            self._links.append(link)
            self.seen["links"] += 1
        _start(self._downward, link)
        self._upward(link)

    def _upward(self, link: Link) -> None:
        with suppress(OSError, EOFError):
            self._pass(link.server, _first_message(link.client), link)
            while data := link.client.recv(_CHUNK_BYTES):
                self._pass(link.server, data, link)
        self._end(link)

    def _downward(self, link: Link) -> None:
        pending = b""
        with suppress(OSError):
            while data := link.server.recv(_CHUNK_BYTES):
                whole, pending, is_lost = self._sifted(pending + data)
                self._pass(link.client, whole, link)
                if is_lost:
                    break
        self._end(link)

    def _sifted(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """What of `data` may be passed on, the beginning of a message behind it, and whether a reply is lost here."""
        end = 0
        for message in whole_messages(data):
            if message.kind == _COMMAND_COMPLETE and message.body == _COMMIT:
                if self.loses_commit():
                    self.seen["lost"] += 1
                    return data[: message.start], b"", True
                self.seen["passed"] += 1
            end = message.end
        return data[:end], data[end:], False

    def _pass(self, sink: socket.socket, data: bytes, link: Link) -> None:
        if self.delay_seconds:
            self._closing.wait(self.delay_seconds)
        self._flowing.wait()
        if not link.is_silent:
            sink.sendall(data)

    def _end(self, link: Link) -> None:
        if link.is_silent:
            return  # the other side is not to learn of it
        self._flowing.wait()
        with self._lock, suppress(ValueError):
            self._links.remove(link)
        link.cut()


@contextmanager
def proxied(host: str, port: int, *, at: str = "127.0.0.1") -> Generator[Proxy]:
    """A `Proxy` to a server, running; it listens at the address `at`."""
    proxy = Proxy(host, port, at=at)
    runner = _start(proxy.run)
    try:
        yield proxy
    finally:
        proxy.close()
        runner.join()


def _start(function: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


def _prompt(each: socket.socket) -> socket.socket:
    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return each


def _first_message(client: socket.socket) -> bytes:
    """A client's first message that does not ask for encryption, which is declined."""
    while True:
        head = _exactly(client, 8)
        length, code = struct.unpack("!II", head)
        body = _exactly(client, length - 8)
        if code not in _ENCRYPTION_ASKED:
            return head + body
        client.sendall(b"N")


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
