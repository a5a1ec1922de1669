"""The proxy itself, before anything is concluded from what it does."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing

import psycopg
import pytest

from milepost.testing.servers import PostgresServer
from tests.reliability.ledger import fresh_ledger
from tests.reliability.proxy import Proxy, proxied, whole_messages

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Generator[Proxy]:
    with proxied("127.0.0.1", postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def direct(postgres_server: PostgresServer) -> str:
    return fresh_ledger(postgres_server)


def connect(proxy: Proxy, direct: str) -> closing[Connection]:
    return closing(psycopg.connect(proxy.url(direct), autocommit=True, connect_timeout=5))


def test_messages_are_told_apart_also_when_the_last_one_has_not_arrived_whole() -> None:
    data = b"C\0\0\0\x0bCOMMIT\0" + b"Z\0\0\0\x05I" + b"D\0\0\0\x09ab"
    assert [(kind, body) for kind, body, _, _ in whole_messages(data)] == [(b"C", b"COMMIT\0"), (b"Z", b"I")]
    assert [data[start:end] for _, _, start, end in whole_messages(data)] == [data[:12], data[12:18]]
    assert list(whole_messages(data[:4])) == []


def test_everything_passes_both_ways_however_large(proxy: Proxy, direct: str) -> None:
    with connect(proxy, direct) as connection:
        rows = connection.execute("select n, %s::text from generate_series(1, 300) n", ["x" * 5000]).fetchall()
    assert rows == [(n, "x" * 5000) for n in range(1, 301)]


def test_a_lost_commit_has_happened_and_its_reply_never_arrives(proxy: Proxy, direct: str) -> None:
    fates = [False, True, False]
    with connect(proxy, direct) as connection:
        connection.execute("create table note (n int)")
        proxy.loses_commit = lambda: fates.pop(0)
        connection.execute("begin; insert into note values (1); commit")
        connection.execute("begin; insert into note values (2)")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("commit")
        assert connection.closed
    with connect(proxy, direct) as connection:
        assert connection.execute("begin; insert into note values (3); commit").statusmessage
        assert connection.execute("select n from note order by n").fetchall() == [(1,), (2,), (3,)]
    assert (proxy.seen["lost"], proxy.seen["passed"], fates) == (1, 2, [])


def test_a_cut_ends_both_sides_and_new_connections_are_taken(proxy: Proxy, direct: str) -> None:
    with connect(proxy, direct) as connection:
        pid = connection.info.backend_pid
        assert proxy.cut() == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with connect(proxy, direct) as connection:
        assert connection.info.backend_pid != pid
        proxy.refuses = True
        with pytest.raises(psycopg.OperationalError), connect(proxy, direct):
            pytest.fail("a connection was taken")


def test_what_is_held_back_arrives_later_and_whole(proxy: Proxy, direct: str) -> None:
    with connect(proxy, direct) as connection, psycopg.connect(direct, autocommit=True) as beside:
        connection.execute("create table note (n int)")
        proxy.hold()
        late = threading.Thread(target=connection.execute, args=["insert into note values (1)"])
        late.start()
        assert beside.execute("select count(*) from note").fetchone() == (0,)
        assert late.is_alive()
        proxy.flow()
        late.join()
        assert beside.execute("select count(*) from note").fetchone() == (1,)


def test_a_silent_link_stays_open_and_says_nothing_while_new_ones_work(proxy: Proxy, direct: str) -> None:
    with connect(proxy, direct) as connection:
        assert proxy.silence() == 1
        connection.pgconn.send_query(b"select 1")
        connection.pgconn.flush()
        with connect(proxy, direct) as other:
            assert other.execute("select 2").fetchone() == (2,)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        assert not connection.closed
