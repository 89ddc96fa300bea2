"""One embedded PostgreSQL for all contenders, databases on it, and what it costs in CPU."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import trio
from psycopg import sql

from lumiliod.db import embedded

START_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Place:
    """A database: the folder of its server's socket, its name, and the process of the server."""

    sockets: str
    name: str
    postmaster: int

    @property
    def conninfo(self) -> str:
        """Return the libpq connection string."""
        return f"host={self.sockets} dbname={self.name} user=lumilio"


class Server:
    """A running server on which databases are made and dropped."""

    def __init__(self, server: embedded.Server, postmaster: int) -> None:
        self._server = server
        self._postmaster = postmaster
        self._numbers = itertools.count(1)

    def place(self, name: str) -> Place:
        """Return the database ``name``."""
        return Place(str(self._server.sockets), name, self._postmaster)

    def create(self, name: str, template: str = "template1") -> Place:
        """Create a database, as a copy of ``template``."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self._server.admin_conninfo, autocommit=True) as admin:
            admin.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return self.place(name)

    def slow_down(self, flush_ms: float) -> None:
        """Let every flush of the log wait before it is done, as on a slower disk; commits that come share it."""
        delay_us = sql.Literal(round(flush_ms * 1000))
        with psycopg.connect(self._server.admin_conninfo, autocommit=True) as admin:
            admin.execute(sql.SQL("ALTER SYSTEM SET commit_delay = {}").format(delay_us))
            admin.execute("ALTER SYSTEM SET commit_siblings = 0")
            admin.execute("SELECT pg_reload_conf()")

    @contextlib.contextmanager
    def copy(self, template: str) -> Iterator[Place]:
        """Give a copy of ``template`` that is dropped at the end."""
        place = self.create(f"{template}_{next(self._numbers)}", template)
        try:
            yield place
        finally:
            self.drop(place)

    def drop(self, place: Place) -> None:
        """Drop a database."""
        with psycopg.connect(self._server.admin_conninfo, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(place.name)))


@contextlib.contextmanager
def running(state_dir: Path) -> Iterator[Server]:
    """Run a new server with the daemon's settings, in a thread of its own.

    Raises:
        RuntimeError: it does not start.
    """
    server = embedded.prepare(state_dir)
    ready = threading.Event()
    scopes: list[tuple[trio.CancelScope, trio.lowlevel.TrioToken]] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scopes.append((scope, trio.lowlevel.current_trio_token()))
            async with trio.open_nursery() as nursery:
                await nursery.start(embedded.serve, server)
                ready.set()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    try:
        postmaster = embedded.running_pid(server) if ready.wait(START_TIMEOUT_S) else None
        if postmaster is None:
            raise RuntimeError("the embedded PostgreSQL does not start")
        yield Server(server, postmaster)
    finally:
        for scope, token in scopes:
            with contextlib.suppress(trio.RunFinishedError):
                trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join(START_TIMEOUT_S)


def tidy(place: Place) -> None:
    """Let nothing that was done before be paid for later: fresh statistics, no dead rows, nothing to flush."""
    with psycopg.connect(place.conninfo, autocommit=True) as conn:
        conn.execute("VACUUM (ANALYZE)")
        conn.execute("CHECKPOINT")


def flushes_per_s(path: Path) -> float:
    """Return how often a page can be written and flushed there in a second: what bounds the rate of commits."""
    page, count = b"\0" * 8192, 200
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(fd, page * count, 0)
        os.fsync(fd)
        began = time.perf_counter()
        for number in range(count):
            os.pwrite(fd, page, number * len(page))
            os.fdatasync(fd)
        return count / (time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
