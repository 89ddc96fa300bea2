"""Transactions: committed or rolled back whole, cancelled in the server, healed after a restart of it."""

import psycopg
import pytest
import trio

from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import Retryable


def insert_user(conn: Connection, name: str) -> None:
    conn.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), %s, 'user')", (name,))


def names(conn: Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT name FROM users ORDER BY name")]


async def test_commits_and_rolls_back(database: Database) -> None:
    await database.call(insert_user, "ada")

    def failing(conn: Connection) -> None:
        insert_user(conn, "bob")
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.call(failing)
    assert await database.call(names) == ["ada"]


async def test_cancelling_the_caller_cancels_the_statement(database: Database) -> None:
    def slow(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(60)")

    with trio.fail_after(10), trio.move_on_after(0.2) as scope:
        await database.call(slow)
    assert scope.cancelled_caught

    def sleeping(conn: Connection) -> int:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    assert await database.call(sleeping) == 0


async def test_a_slow_statement_ends_as_retryable(conninfo: str) -> None:
    database = Database(conninfo, pool_size=1, statement_timeout_s=0.1)

    def slow(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(5)")

    with pytest.raises(Retryable) as caught:
        await database.call(slow)
    assert caught.value.code == "database_timeout"
    await database.close()


async def test_a_connection_that_died_while_idle_is_replaced(database: Database) -> None:
    await database.call(names)

    def end_others(conn: Connection) -> None:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    with psycopg.connect(database.conninfo, autocommit=True) as other:
        end_others(other)
    assert await database.call(names) == []


async def test_no_server_is_retryable() -> None:
    database = Database("host=/nonexistent dbname=x", pool_size=1)
    with pytest.raises(Retryable):
        await database.call(names)
    await database.close()


async def test_more_callers_than_connections(conninfo: str) -> None:
    database = Database(conninfo, pool_size=2)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(database.call, insert_user, f"u{number:02}")
    assert len(await database.call(names)) == 20
    await database.close()


async def test_listen_hears_every_notification(database: Database) -> None:
    heard: list[tuple[str, str]] = []
    got = trio.Event()

    def note(channel: str, payload: str) -> None:
        heard.append((channel, payload))
        if payload == "last":
            got.set()

    def tell(conn: Connection) -> None:
        conn.execute("SELECT pg_notify('news', 'first'), pg_notify('news', 'last')")

    async with trio.open_nursery() as nursery:
        await nursery.start(listen, database, ["news"], note)
        assert heard == [("news", "")]
        await database.call(tell)
        with trio.fail_after(10):
            await got.wait()
        nursery.cancel_scope.cancel()
    assert heard[1:] == [("news", "first"), ("news", "last")]
