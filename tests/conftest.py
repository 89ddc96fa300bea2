"""Fixtures: one real PostgreSQL per run, a migrated template, a fresh database per test, real daemons."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import trio
from psycopg import sql

from lumiliod.client import Client, Unreachable
from lumiliod.db import embedded, migrate
from lumiliod.db.pool import Database

ROOT = Path(__file__).parent.parent
CORPUS = ROOT.parent / "shared" / "corpus" / "dev"
START_TIMEOUT_S = 90.0

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # started in the background by a shell: those whom tests interrupt would inherit that they are not
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """Return a folder whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="lum-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(short_dir: Path) -> Iterator[embedded.Server]:
    """Run the embedded server for the whole session, in a thread of its own."""
    server = embedded.prepare(short_dir / "pg")
    ready = threading.Event()
    ended: list[trio.CancelScope | None] = [None]
    tokens: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            ended[0] = scope
            tokens.append(trio.lowlevel.current_trio_token())
            async with trio.open_nursery() as nursery:
                await nursery.start(embedded.serve, server)
                ready.set()

    thread = threading.Thread(target=trio.run, args=(main,), daemon=True)
    thread.start()
    assert ready.wait(START_TIMEOUT_S)
    with psycopg.connect(server.admin_conninfo, autocommit=True) as admin:
        # what a killed server wrote is kept by the system; only power loss would take it, and that is not simulated
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("ALTER SYSTEM SET full_page_writes = off")
        admin.execute("SELECT pg_reload_conf()")
    yield server
    scope = ended[0]
    assert scope is not None
    trio.from_thread.run_sync(scope.cancel, trio_token=tokens[0])
    thread.join(START_TIMEOUT_S)


@pytest.fixture(scope="session")
def template(postgres: embedded.Server) -> str:
    """Migrate one database; tests get copies of it."""
    name = "template_migrated"
    with psycopg.connect(postgres.admin_conninfo, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(_conninfo(postgres, name), autocommit=True) as conn:
        migrate.migrate(conn, migrate.load(migrate.folder()))
    return name


def _conninfo(server: embedded.Server, name: str) -> str:
    return f"host={server.sockets} dbname={name} user=lumilio"


@contextmanager
def _fresh_database(server: embedded.Server, template: str) -> Iterator[str]:
    name = f"test_{uuid4().hex[:12]}"
    with psycopg.connect(server.admin_conninfo, autocommit=True) as admin:
        # as nothing is forced to the disk, files are copied in half the time that their pages take through the log
        make = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"
        admin.execute(sql.SQL(make).format(sql.Identifier(name), sql.Identifier(template)))
        yield _conninfo(server, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def conninfo(postgres: embedded.Server, template: str) -> Iterator[str]:
    """Return the connection string of a fresh, migrated database."""
    with _fresh_database(postgres, template) as made:
        yield made


@pytest.fixture(scope="module")
def module_conninfo(postgres: embedded.Server, template: str) -> Iterator[str]:
    """Return the connection string of a database for a module's tests, which leave it as it was."""
    with _fresh_database(postgres, template) as made:
        yield made


@pytest.fixture
def conn(conninfo: str) -> Iterator[psycopg.Connection]:
    """Return a connection to a fresh database, not committed by itself."""
    with psycopg.connect(conninfo) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
async def database(conninfo: str) -> AsyncIterator[Database]:
    """Return a pool on a fresh database."""
    pool = Database(conninfo, pool_size=6, statement_timeout_s=20)
    yield pool
    with trio.CancelScope(shield=True):
        await pool.close()


@dataclass
class Daemon:
    """A real lumiliod in a process of its own, on a state folder that outlives it."""

    state_dir: Path
    process: subprocess.Popen[bytes] | None = None
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    extra: tuple[str, ...] = ()

    @property
    def socket(self) -> str:
        return str(self.state_dir / "run" / "lumiliod.sock")

    @property
    def log(self) -> str:
        return (self.state_dir / "daemon.log").read_text(errors="replace")

    @property
    def client(self) -> Client:
        return Client(self.socket)

    def start(self, *, wait: bool = True) -> "Daemon":
        self.state_dir.mkdir(exist_ok=True)
        with (self.state_dir / "daemon.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lumiliod.daemon", "run", "--state-dir", str(self.state_dir), *self.extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        waited = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.05)):
            assert self.process is not None
            assert self.process.poll() is None, self.log
            try:
                with self.client as client:
                    if client.ready():
                        return
            except Unreachable:
                pass
            waited.wait(0.05)
        raise AssertionError(f"not ready: {self.log}")

    def kill(self) -> None:
        """End it as a power cut would end the process: SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it in order and return its exit status; the database server of a killed one goes, too."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"does not stop: {self.log}") from None

    def cli(self, *args: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run ``lumilio`` against this daemon."""
        done = subprocess.run(
            [sys.executable, "-m", "lumiliod.cli", "--socket", self.socket, *args],
            capture_output=True,
            text=True,
            env=self.environ,
            check=False,
        )
        assert not check or done.returncode == 0, f"{args}: {done.returncode}: {done.stderr}\n{self.log}"
        return done


@pytest.fixture(scope="session")
def started_state() -> Iterator[Path]:
    """Return the state folder of a daemon that was started for the first time and stopped; tests get copies of it."""
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="lum-")))
    try:
        assert daemon.start().stop() == 0, daemon.log
        (daemon.state_dir / "daemon.log").unlink()
        yield daemon.state_dir
    finally:
        _end(daemon)


def _end(daemon: Daemon) -> None:
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.stop()
    _stop_server(daemon.state_dir)
    shutil.rmtree(daemon.state_dir, ignore_errors=True)


@contextmanager
def _daemons(started_state: Path) -> Iterator[Callable[..., Daemon]]:
    made: list[Daemon] = []

    def make(*extra: str, fresh: bool = False, watched: bool = True) -> Daemon:
        state_dir = Path(tempfile.mkdtemp(prefix="lum-"))
        if not watched:
            config = state_dir / "unwatched.toml"
            config.write_text("[watch]\nenabled = false\n")
            extra = ("--config", str(config), *extra)
        if not fresh:
            # owners and modes are the server's concern
            subprocess.run(["cp", "-a", f"{started_state}/.", state_dir], check=True)
        daemon = Daemon(state_dir, extra=extra)
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        _end(daemon)


@pytest.fixture
def make_daemon(started_state: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a maker of daemons without a library; all are ended afterwards, their servers too.

    With ``fresh`` nothing is there yet, not even a server's data. One that is not ``watched`` looks when it is asked
    to, and not before: a disk that rots tells nobody, but a test that writes the damage would be seen.
    """
    with _daemons(started_state) as make:
        yield make


@pytest.fixture(scope="module")
def make_module_daemon(started_state: Path) -> Iterator[Callable[..., Daemon]]:
    """Return a maker of daemons that live for a module's tests."""
    with _daemons(started_state) as make:
        yield make


def _stop_server(state_dir: Path) -> None:
    """End the database server that a killed daemon left behind."""
    pid_file = state_dir / "postgres" / "data" / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        return
    os.kill(pid, signal.SIGQUIT)
    os.close(descriptor)


@pytest.fixture
def daemon(make_daemon: Callable[..., Daemon]) -> Daemon:
    """Return a running daemon."""
    return make_daemon().start()
