"""Transactions: committed or rolled back whole, cancelled in the server, healed after a restart of it."""

import logging
import socket
import threading
import traceback
from collections.abc import Callable

import psycopg
import pytest
import trio
from psycopg import errors as pg

from lumiliod.db import pool
from lumiliod.db.errors import as_ours, described
from lumiliod.db.listen import listen
from lumiliod.db.pool import Connection, Database
from lumiliod.domain.errors import ConfigError, LumilioError, Permanent, Retryable, Unavailable


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


async def test_a_transaction_whose_function_hangs_lets_its_locks_go(database: Database) -> None:
    """The function goes on one day, finds its connection gone, and nothing of it takes effect, nor twice."""
    runs: list[int] = []

    def hang(conn: Connection) -> None:
        runs.append(conn.info.backend_pid)
        conn.execute("CREATE TABLE held ()")
        conn.execute("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
        with psycopg.connect(database.conninfo, autocommit=True) as other:
            while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (runs[-1],)).fetchone():
                pass
        conn.execute("CREATE TABLE more ()")

    shown = await database.call(lambda conn: conn.execute("SHOW idle_in_transaction_session_timeout").fetchone())
    assert shown == ("10min",)
    with pytest.raises(Retryable) as caught:
        await database.call(hang)
    assert caught.value.code == "database_timeout"
    assert len(runs) == 1
    assert await database.call(lambda conn: conn.execute("SELECT to_regclass('held')").fetchone()) == (None,)


def end_others(conn: Connection) -> None:
    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


async def test_a_connection_that_died_while_idle_is_replaced(database: Database) -> None:
    await database.call(names)
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        end_others(other)
    assert await database.call(names) == []


async def test_no_server_is_unavailable() -> None:
    database = Database("host=/nonexistent dbname=x", pool_size=1)
    with pytest.raises(Unavailable) as caught:
        await database.call(names)
    assert caught.value.code == "database_unavailable"
    with pytest.raises(Unavailable):
        await trio.to_thread.run_sync(database.connect)
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


async def test_listen_comes_back_by_itself(database: Database) -> None:
    heard: list[str] = []
    reports: list[str | None] = []
    back = trio.Event()

    def report(reason: str | None) -> None:
        reports.append(reason)
        if reason is None:
            back.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: _listening(database, heard, report, task_status))
        assert heard == [""]
        assert reports == []
        with psycopg.connect(database.conninfo, autocommit=True) as other:
            end_others(other)
        with trio.fail_after(20):
            await back.wait()
            while heard != ["", ""]:
                await trio.lowlevel.checkpoint()
        assert len(reports) == 2
        assert reports[0]
        nursery.cancel_scope.cancel()


async def _listening(
    database: Database,
    heard: list[str],
    report: Callable[[str | None], None],
    task_status: trio.TaskStatus[None],
) -> None:
    await listen(database, ["news"], lambda _, text: heard.append(text), report=report, task_status=task_status)


async def test_listen_fails_the_boot_without_a_server() -> None:
    with pytest.raises(Unavailable):
        await listen(Database("host=/nonexistent dbname=x"), ["news"], lambda _channel, _text: None)


# cancelling


async def test_a_cancel_that_is_late_hits_nobody_else(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancel is sent when the statement is over and, were its connection free, another caller had it."""
    cancel = pool._cancel
    begun = threading.Event()
    over = trio.Event()

    def late(conn: Connection) -> None:
        begun.wait(5)
        with psycopg.connect(database.conninfo, autocommit=True) as other:
            while not other.execute(
                "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(0.5)'"
            ).fetchone():
                pass
        cancel(conn)

    def cancelled(conn: Connection) -> None:
        conn.execute("SELECT pg_sleep(0.2)")

    def innocent(conn: Connection) -> bool:
        begun.set()
        conn.execute("SELECT pg_sleep(0.5)")
        return True

    async def gives_up() -> None:
        with trio.move_on_after(0.05):
            await database.call(cancelled)
        over.set()

    monkeypatch.setattr(pool, "_cancel", late)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gives_up)
        await trio.sleep(0.4)
        with trio.fail_after(10):
            assert await database.call(innocent)
            await over.wait()


async def test_a_cancel_between_statements_rolls_back(database: Database) -> None:
    inserted, cancelled = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def pausing(conn: Connection) -> None:
        insert_user(conn, "ada")
        token.run_sync_soon(inserted.set)
        assert cancelled.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.call, pausing)
        await inserted.wait()
        nursery.cancel_scope.cancel()
        nursery.start_soon(_after_cancelling, cancelled)
    assert await database.call(names) == []


async def _after_cancelling(cancelled: threading.Event) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(0.2)
        cancelled.set()


async def test_a_cancel_while_connecting_is_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting, ran = trio.Event(), threading.Event()
    cancelled = threading.Event()
    token = trio.lowlevel.current_trio_token()
    connect = database.connect

    def slow() -> Connection:
        token.run_sync_soon(connecting.set)
        assert cancelled.wait(10)
        return connect()

    def never(_conn: Connection) -> None:
        ran.set()

    monkeypatch.setattr(database, "connect", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.call, never)
        await connecting.wait()
        nursery.cancel_scope.cancel()
        nursery.start_soon(_after_cancelling, cancelled)
    assert not ran.is_set()


SLOW_COMMIT = """
CREATE TABLE slow (n int);
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {what}; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION at_commit();
"""


async def test_a_cancel_during_the_commit_does_not_hide_it(database: Database) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        other.execute(SLOW_COMMIT.format(what="PERFORM pg_sleep(0.5)"))

    def write(conn: Connection) -> str:
        conn.execute("INSERT INTO slow VALUES (1)")
        return "committed"

    def wait_for_the_commit() -> None:
        with psycopg.connect(database.conninfo, autocommit=True) as other:
            while not other.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
            ).fetchone():
                pass

    async def cancel_in_the_commit() -> None:
        await trio.to_thread.run_sync(wait_for_the_commit)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_in_the_commit)
        with trio.CancelScope() as scope:
            assert await database.call(write) == "committed"
    assert scope.cancel_called
    assert await database.call(lambda conn: conn.execute("SELECT count(*) FROM slow").fetchone()) == (1,)


async def test_a_lost_answer_to_a_commit_is_not_run_again(database: Database) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        other.execute(SLOW_COMMIT.format(what="PERFORM pg_terminate_backend(pg_backend_pid())"))
    await database.call(names)
    runs: list[int] = []

    def write(conn: Connection) -> None:
        runs.append(1)
        conn.execute("INSERT INTO slow VALUES (1)")

    with pytest.raises(Unavailable):
        await database.call(write)
    assert len(runs) == 1


async def test_what_a_swallowed_error_undid_is_not_called_committed(database: Database) -> None:
    def careless(conn: Connection) -> None:
        insert_user(conn, "ada")
        try:
            conn.execute("SELECT 1 / 0")
        except pg.DivisionByZero:
            return

    with pytest.raises(Retryable) as caught:
        await database.call(careless)
    assert caught.value.code == "database_defect"


async def test_a_connection_that_cannot_be_cancelled_is_cut(database: Database) -> None:
    conn = await trio.to_thread.run_sync(database.connect)
    begun = trio.Event()

    async def sleeping() -> None:
        begun.set()
        with pytest.raises(psycopg.OperationalError):
            await trio.to_thread.run_sync(lambda: conn.execute("SELECT pg_sleep(60)"))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeping)
            await begun.wait()
            await trio.sleep(0.2)
            pool._cut(conn)
    assert conn.closed


# connecting


def test_a_remote_server_that_vanished_is_noticed() -> None:
    params = Database("host=db.example user=lumilio").parameters
    assert int(str(params["keepalives_idle"])) <= 60
    assert int(str(params["tcp_user_timeout"])) <= 60_000
    assert int(str(params["connect_timeout"])) <= 10


def test_what_the_url_says_is_kept() -> None:
    params = Database("postgresql://db.example/x?connect_timeout=3&options=-c%20search_path%3Dphotos").parameters
    assert params["connect_timeout"] == "3"
    assert str(params["options"]).startswith("-c search_path=photos -c statement_timeout=")


def test_a_malformed_url_is_a_configuration_error() -> None:
    word = "Lovelace"
    with pytest.raises(ConfigError) as caught:
        Database(f"host=x {word}")
    assert word not in "".join(traceback.format_exception(caught.value))


# errors


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (pg.DiskFull(), Unavailable, "no_space"),
        (pg.AdminShutdown(), Unavailable, "database_unavailable"),
        (pg.TooManyConnections(), Unavailable, "database_unavailable"),
        (psycopg.OperationalError("connection refused"), Unavailable, "database_unavailable"),
        (psycopg.InterfaceError(), Unavailable, "database_unavailable"),
        (pg.QueryCanceled(), Retryable, "database_timeout"),
        (pg.DeadlockDetected(), Retryable, "database_busy"),
        (pg.OutOfMemory(), Retryable, "database_overloaded"),
        (pg.ProgramLimitExceeded(), Permanent, "bad_value"),
        (pg.StatementTooComplex(), Permanent, "bad_value"),
        (pg.InvalidTextRepresentation(), Permanent, "bad_value"),
        (pg.UniqueViolation(), Retryable, "database_defect"),
        (pg.UndefinedColumn(), Retryable, "database_defect"),
        (pg.ObjectNotInPrerequisiteState(), Retryable, "database_defect"),
        (psycopg.NotSupportedError(), Retryable, "database_defect"),
    ],
)
def test_every_error_becomes_ours(error: psycopg.Error, kind: type[LumilioError], code: str) -> None:
    ours = as_ours(error)
    assert type(ours) is kind
    assert ours.code == code


async def test_a_defect_tells_nothing_of_the_rows(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    name = "Lovelace"

    def broken(conn: Connection, name: str) -> None:
        conn.execute("INSERT INTO users (id, name, role) VALUES (gen_random_uuid(), %s, 'king')", (name,))

    with caplog.at_level(logging.INFO), pytest.raises(Retryable) as caught:
        await database.call(broken, name)
    assert caught.value.code == "database_defect"
    assert "users" in caught.value.message
    told = "".join(traceback.format_exception(caught.value)) + caught.value.message + caplog.text
    assert "Failing row" not in told
    assert name not in told
    record = next(record for record in caplog.records if record.name == "lumiliod.db.errors")
    assert record.__dict__["sqlstate"] == "23514"
    assert record.__dict__["constraint"]


def test_a_value_that_does_not_fit_is_not_repeated(conn: Connection) -> None:
    with pytest.raises(psycopg.DataError) as caught:
        conn.execute("SELECT %s::text::int", ("Ada Lovelace",))
    assert "Lovelace" not in as_ours(caught.value).message
    assert described(psycopg.ProgrammingError("can't adapt Ada Lovelace")) == "ProgrammingError"


async def test_an_index_row_too_long_is_permanent(database: Database) -> None:
    with psycopg.connect(database.conninfo, autocommit=True) as other:
        other.execute('CREATE TABLE long (t text COLLATE "C" PRIMARY KEY)')

    def write(conn: Connection) -> None:
        conn.execute("INSERT INTO long SELECT string_agg(md5(n::text), '') FROM generate_series(1, 1000) AS n")

    with pytest.raises(Permanent) as caught:
        await database.call(write)
    assert caught.value.code == "bad_value"


async def test_a_server_that_only_accepts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CONNECT_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=x user=x")
        with trio.fail_after(8), pytest.raises(Unavailable):
            await database.call(names)
        await database.close()
