"""What a daemon costs that has nothing to do: statements, written rows, CPU."""

import re
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.measuring.process_tree import cpu_s
from lumiliod.client import Client
from lumiliod.contract.repositories import NewRepository
from lumiliod.db import embedded
from scripts.daemon_process import Daemon, running

STATEMENT = re.compile(r"\[(\d+)\] LOG:  (?:statement|execute [^:]*): (.*)")
SETTLED_LIMIT_S = 120.0

WRITTEN = """
SELECT (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables),
       (SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database WHERE datname = current_database()),
       pg_current_wal_lsn() - '0/0'::pg_lsn
"""


@dataclass(frozen=True, slots=True)
class Idle:
    """What was seen, per minute; rows of our tables and of all of them, catalogs too; CPU in percent of one core."""

    minutes: float
    statements: float
    rows: float
    all_rows: float
    wal_bytes: float
    daemon_cpu: float
    postgres_cpu: float
    commonest: list[tuple[str, int]]


def watch(root: Path, minutes: float, settle_s: float) -> Idle:
    """Run a daemon with one empty repository, leave it alone, and watch it for ``minutes``.

    Statements are counted in the server's log, BEGIN and COMMIT among them.

    Raises:
        DaemonFailed: it does not start.
    """
    folder, state = root / "photos", root / "state"
    folder.mkdir(parents=True)
    scratch = root / "tmp"
    scratch.mkdir()
    config = root / "lumiliod.toml"
    config.write_text("[storage]\nmin_free_mb = 16\n[log]\nlevel = 'warning'\nformat = 'text'\n")
    with running(state, config=config, log=root / "log", scratch=scratch) as daemon:
        with Client(str(daemon.socket)) as client:
            client.add_repository(NewRepository(path=str(folder), name="idle"))
            _wait_for_jobs(client, daemon)
        server = embedded.prepare(state)
        _log_statements(server)
        _rest(daemon, settle_s)
        return _watch(server, daemon, minutes)


def _wait_for_jobs(client: Client, daemon: Daemon) -> None:
    give_up_at = time.monotonic() + SETTLED_LIMIT_S
    while time.monotonic() < give_up_at:
        now = client.status()
        if not now.open_jobs and not now.scans:
            return
        daemon.check()
        time.sleep(0.2)
    raise RuntimeError("the new repository's scan does not end")


def _log_statements(server: embedded.Server) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET log_statement = 'all'")
        conn.execute("SELECT pg_reload_conf()")


def _rest(daemon: Daemon, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 5.0))
        daemon.check()


def _watch(server: embedded.Server, daemon: Daemon, minutes: float) -> Idle:
    postmaster = embedded.running_pid(server)
    assert postmaster is not None
    ours: set[int] = set()
    rows, all_rows, wal_bytes = _written(server, ours)
    begin = server.log.stat().st_size
    postgres_s, tree_s = cpu_s(postmaster), cpu_s(daemon.process.pid)
    _rest(daemon, minutes * 60)
    postgres_s, tree_s = cpu_s(postmaster) - postgres_s, cpu_s(daemon.process.pid) - tree_s
    with server.log.open("rb") as log:
        log.seek(begin)
        text = log.read().decode(errors="replace")
    now = _written(server, ours)
    said = Counter(found[2][:60] for found in STATEMENT.finditer(text) if int(found[1]) not in ours)
    return Idle(
        minutes=minutes,
        statements=said.total() / minutes,
        rows=(now[0] - rows) / minutes,
        all_rows=(now[1] - all_rows) / minutes,
        wal_bytes=(now[2] - wal_bytes) / minutes,
        daemon_cpu=(tree_s - postgres_s) / minutes / 60 * 100,
        postgres_cpu=postgres_s / minutes / 60 * 100,
        commonest=said.most_common(5),
    )


def _written(server: embedded.Server, backends: set[int]) -> tuple[int, int, int]:
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        backends.add(conn.info.backend_pid)
        row = conn.execute(WRITTEN).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])
