"""A PostgreSQL that outlives the daemon's lives, and dies now and then itself."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psycopg

from bench.queues.server import running
from lumiliod.db import embedded

START_TIMEOUT_S = 120.0
LOOK_S = 0.02


class DatabaseLost(Exception):
    """The server does not come back."""


class Database:
    """One database on a server of its own."""

    def __init__(self, server: embedded.Server) -> None:
        self._server = server

    @property
    def url(self) -> str:
        """The connection string."""
        return self._server.conninfo

    def kill(self, rng: Random) -> str:
        """End the server at once, one way or another; it starts again by itself. Return how."""
        pid = embedded.running_pid(self._server)
        if pid is None:
            return "away already"
        how = rng.choice(("killed", "immediate", "backend killed"))
        with suppress(ProcessLookupError):
            match how:
                case "killed":
                    os.kill(pid, signal.SIGKILL)
                case "immediate":
                    os.kill(pid, signal.SIGQUIT)
                case _:
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                    os.kill(int(rng.choice(children)), signal.SIGKILL)
        return how

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            DatabaseLost: it does not.
        """
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < give_up_at:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            time.sleep(LOOK_S)
        raise DatabaseLost(f"PostgreSQL does not come back: {self._server.log}")


@contextmanager
def opened(state_dir: Path) -> Iterator[Database]:
    """Run a server, with an empty database ``lumilio``."""
    with running(state_dir):
        server = embedded.find(state_dir)
        embedded.create_database(server)
        yield Database(server)
