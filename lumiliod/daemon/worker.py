"""``lumiliod worker``: more hands for the job table, in a process of its own.

It shares the database and the repositories with a daemon, which keeps what must be one: the migrations, the
staging of uploads, the API. Any number of them may run, on this machine or, with a database and folders that
are reached from there, on others.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from lumiliod import config as configuration
from lumiliod.config import Config
from lumiliod.daemon import appliance, systemd
from lumiliod.daemon.supervise import keep_running
from lumiliod.db import embedded, migrate, pool, users, waking
from lumiliod.db import repositories as db_repositories
from lumiliod.db.listen import listen
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import ConfigError
from lumiliod.domain.ids import RepositoryId
from lumiliod.jobs import service as jobs_service
from lumiliod.jobs.engine import Engine
from lumiliod.media import media
from lumiliod.runtime import HealthBoard, InForce, Repositories, Runtime
from lumiliod.storage import hashers

log = logging.getLogger(__name__)

Rows = dict[RepositoryId, RepositoryRow]

REFRESH_S = 30.0
"""How often the list of repositories is read again, and those out of reach are tried."""


async def run(
    config: Config, stop: trio.Event, environ: Mapping[str, str], concurrency: Mapping[str, int] | None = None
) -> None:
    """Work on the queues of ``concurrency``, or of the configuration, until ``stop`` is set.

    Raises:
        ConfigError: the machine or the configuration does not allow it, or a queue is unknown.
        Unavailable: the database is away, or no daemon has migrated it yet.
    """
    lanes = chosen(appliance.concurrency(config), concurrency or {})
    health = HealthBoard()
    started = trio.Event()
    async with trio.open_nursery() as gauges, opened(config, environ, health) as rt:
        await gauges.start(systemd.watchdog, health)
        await gauges.start(systemd.extend_start, started)
        stop_jobs = trio.Event()
        grace_s = float(config.jobs.shutdown_grace_s)
        engine = partial(jobs_service.serve, rt.jobs, lanes, stop=stop_jobs, grace_s=grace_s)
        async with trio.open_nursery() as intake:
            await intake.start(partial(keep_running, health, "repositories", partial(attend, rt)))
            async with trio.open_nursery() as working:
                await working.start(partial(keep_running, health, "jobs", engine))
                await intake.start(partial(keep_running, health, "listen", hearing(rt)))
                started.set()
                systemd.ready(f"working on {', '.join(sorted(lanes))}")
                log.info("ready", extra={"queues": ",".join(sorted(lanes))})
                await stop.wait()
                health.is_stopping = True
                systemd.stopping(f"stopping: running jobs end within {grace_s:g} s")
                stop_jobs.set()
            intake.cancel_scope.cancel()
        gauges.cancel_scope.cancel()


def chosen(configured: Mapping[str, int], asked: Mapping[str, int]) -> dict[str, int]:
    """Return how many jobs of each queue run at once: all as configured, or those asked for (0: as configured).

    Raises:
        ConfigError: there is no such queue.
    """
    for name in asked:
        if name not in configured:
            raise ConfigError(f"there is no queue {name}; there are {', '.join(configured)}", code="queue_not_found")
    return {name: asked[name] or configured[name] for name in asked} or dict(configured)


@asynccontextmanager
async def opened(config: Config, environ: Mapping[str, str], health: HealthBoard) -> AsyncIterator[Runtime]:
    """Open what a worker needs of the appliance; closes it in reverse."""
    url = configuration.database_url(config, environ)
    if url is None:
        # the daemon's own server, which only the daemon may start
        url = (await trio.to_thread.run_sync(embedded.find, Path(config.state_dir).absolute())).conninfo
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            pool.opened(
                url,
                pool_size=config.database.pool_size,
                statement_timeout_s=float(config.database.statement_timeout_s),
            )
        )
        await trio.to_thread.run_sync(_check_migrated, database)
        repositories = stack.enter_context(contextlib.closing(Repositories(owner=False)))
        room = await stack.enter_async_context(media.opened(appliance.media_settings(config), appliance.media_types()))
        hashing = await stack.enter_async_context(hashers.opened())
        rt = Runtime(
            in_force=InForce(config),
            db=database,
            jobs=Engine(database, [], lease_s=float(config.jobs.lease_s), history_days=config.jobs.history_days),
            repositories=repositories,
            media=room,
            owner_id=await database.call(users.ensure_admin),
            health=health,
            hashers=hashing,
        )
        for kind in appliance.job_kinds(rt):
            rt.jobs.kinds[kind.name] = kind
        await refresh(rt, {})
        yield rt


def _check_migrated(database: Database) -> None:
    conn = database.connect(autocommit=True)
    try:
        migrate.check(conn, migrate.load(migrate.folder()))
    finally:
        conn.close()


def hearing(rt: Runtime) -> Callable[..., Awaitable[None]]:
    """Return the service that listens for work, and for repositories that came, went or moved."""

    def heard(channel: str, payload: str) -> None:
        if channel == waking.CHANNEL:
            rt.jobs.heard(payload)
        else:
            rt.repositories.announce()

    return partial(listen, rt.db, [waking.CHANNEL, db_repositories.CHANNEL], heard)


async def attend(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep in step with the repositories the daemon knows: new ones, those that are back, and those that went."""
    task_status.started()
    rows: Rows = {}
    while True:
        changed = rt.repositories.changed
        rows = await refresh(rt, rows)
        with trio.move_on_after(REFRESH_S):
            await changed.wait()
        if changed.is_set():
            # a marker may say something else, too; while nobody says so, no disk is woken
            rows = {}


async def refresh(rt: Runtime, seen: Rows) -> Rows:
    """Go by what the database says of repositories: open what came, let go what went, open anew what moved.

    What this process cannot reach is none of its verdicts.

    Args:
        rt: this worker.
        seen: what the database said before; of what it still says so, only what is not open is tried.

    Returns:
        What it says now.
    """
    rows = {row.id: row for row in await rt.db.once(db_repositories.all_rows)}
    for known in rt.repositories.rows():
        if known.id not in rows:
            rt.repositories.forget(known.id)
    for row in rows.values():
        if row != seen.get(row.id) or not rt.repositories.is_open(row.id):
            rt.repositories.put(*await trio.to_thread.run_sync(rt.repositories.reach, row))
    return rows
