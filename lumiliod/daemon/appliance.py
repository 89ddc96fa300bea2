"""The daemon itself: what is opened, what runs, and in which order it all ends.

::

    opened(config)                         lock, database, migrations, repositories, media
      nursery helpers: what requests wait for together       closed last
        nursery faces:   API on the socket                   drained third, with a grace period
          nursery lanes: the job engine                      drained second, likewise
            nursery intake: LISTEN, what was left, watchers  stopped first
"""

import contextlib
import logging
import math
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from lumiliod import config as configuration
from lumiliod import plugins
from lumiliod.api import app as api
from lumiliod.api.server import serve as serve_api
from lumiliod.config import Config
from lumiliod.daemon import reload, status_line, systemd
from lumiliod.daemon.supervise import keep_running, measure_lag
from lumiliod.db import embedded, migrate, pool, users
from lumiliod.db import jobs as db_jobs
from lumiliod.db.listen import listen
from lumiliod.db.pool import Database
from lumiliod.db.waking import CHANNEL
from lumiliod.domain.errors import ConfigError, Unavailable
from lumiliod.domain.sync import SyncType
from lumiliod.jobs import service as jobs_service
from lumiliod.jobs.engine import Engine
from lumiliod.jobs.kind import Kind
from lumiliod.library import upload_sweep
from lumiliod.media import media
from lumiliod.media.settings import MediaSettings
from lumiliod.pipeline import adopt, kinds, purge, schedules
from lumiliod.runtime import HealthBoard, InForce, Opened, Repositories, Runtime, opened_repositories, reopen
from lumiliod.storage import hashers
from lumiliod.watch import service as watching

log = logging.getLogger(__name__)

WAITING_MEDIA_JOBS = 2
"""So many have their next file ready for the first worker that is free."""
LAST_REQUESTS_S = 1.0
"""So long open requests have to end, however long the jobs took before."""
REOPEN_FIRST_S, REOPEN_MAX_S = 2.0, 60.0
"""How soon, and how often at last, an offline repository is tried again."""


@dataclass(frozen=True)
class Hangups:
    """SIGHUP as it comes, and what then reads the configuration again (blocks; raises ConfigError)."""

    signals: AsyncIterator[int]
    load: Callable[[], Config]


async def run(config: Config, stop: trio.Event, environ: Mapping[str, str], *, hangups: Hangups | None = None) -> None:
    """Run the daemon until ``stop`` is set, then shut down in order.

    Raises:
        ConfigError: the machine or the configuration does not allow it.
        Conflict: another daemon uses the state folder.
    """
    health = HealthBoard()
    started = trio.Event()
    async with trio.open_nursery() as gauges:
        await gauges.start(systemd.watchdog, health)
        await gauges.start(systemd.extend_start, started)
        async with opened(config, environ, health) as rt:
            await gauges.start(measure_lag, health)
            await _serve(rt, stop, started, hangups)
            systemd.status("stopping: the media workers and the database end")
        gauges.cancel_scope.cancel()


async def _serve(rt: Runtime, stop: trio.Event, started: trio.Event, hangups: Hangups | None) -> None:
    config, health = rt.config, rt.health
    stop_api, stop_jobs = trio.Event(), trio.Event()
    grace_s, stop_at = float(config.jobs.shutdown_grace_s), math.inf
    serve = partial(
        serve_api,
        api.create(rt),
        config.server.socket,
        mode=config.server.socket_mode,
        group=config.server.socket_group,
        stop=stop_api,
        grace_s=lambda: max(LAST_REQUESTS_S, stop_at + grace_s - trio.current_time()),
    )
    engine = partial(jobs_service.serve, rt.jobs, concurrency(config), stop=stop_jobs, grace_s=grace_s)
    report = partial(_report, health, "listen")
    hear = partial(listen, rt.db, [CHANNEL], partial(_heard, rt.jobs), report=report)
    for name in ("api", "jobs", "listen", "repositories"):
        health.set(name, "starting")
    await rt.jobs.call(schedules.declare_repositories, rt.repositories)
    await rt.jobs.call(schedules.declare_trash, config.storage.trash_days)
    await rt.jobs.call(schedules.declare_scrub, config.integrity.scrub_days)
    async with trio.open_nursery() as helpers:
        await helpers.start(partial(keep_running, health, "streaming", rt.streaming.run))
        async with trio.open_nursery() as faces:
            await faces.start(partial(keep_running, health, "api", serve))
            async with trio.open_nursery() as lanes:
                await lanes.start(partial(keep_running, health, "jobs", engine))
                async with trio.open_nursery() as intake:
                    await intake.start(partial(keep_running, health, "listen", hear))
                    attend = partial(attend_repositories, rt)
                    await intake.start(partial(keep_running, health, "repositories", attend))
                    await intake.start(partial(keep_running, health, "staged uploads", partial(_adopt_all, rt)))
                    await intake.start(partial(keep_running, health, "missing work", partial(adopt.missing_work, rt)))
                    await intake.start(partial(keep_running, health, "uploads", partial(upload_sweep.sweep, rt)))
                    if config.watch.enabled:
                        watch = partial(watching.watch_all, rt)
                        await intake.start(partial(keep_running, health, "watch", watch, essential=False))
                    await intake.start(status_line.keep_true, rt)
                    if hangups is not None:
                        again = partial(reload.on_hangup, rt, hangups.signals, hangups.load, concurrency)
                        await intake.start(keep_running, health, "reload", again)
                    started.set()
                    systemd.ready(status_line.line(rt))
                    log.info("ready", extra={"socket": config.server.socket})
                    await stop.wait()
                    stop_at = trio.current_time()
                    health.is_stopping = True
                    systemd.stopping(f"stopping: running jobs end within {grace_s:g} s")
                    intake.cancel_scope.cancel()
                stop_jobs.set()
            systemd.status("stopping: open requests end")
            stop_api.set()
        helpers.cancel_scope.cancel()


@asynccontextmanager
async def opened(config: Config, environ: Mapping[str, str], health: HealthBoard) -> AsyncIterator[Runtime]:
    """Open everything the daemon stands on; closes it in reverse.

    The media room and the database are opened, and closed, beside each other: each takes as long as the other.
    """
    report = partial(_report, health, "encoder")
    put, take = trio.open_memory_channel[media.Media](1)
    until_closed = trio.CancelScope()
    async with trio.open_nursery() as beside:
        beside.start_soon(_hold, media.opened(media_settings(config), media_types(), report), put, until_closed)
        async with (
            opened_database(config, environ, health) as database,
            opened_repositories(database) as repositories,
            hashers.opened() as hashing,
        ):
            room = await take.receive()
            yield await _runtime(config, database, repositories, room, hashing, health)
            until_closed.cancel()


async def _hold(
    context: AbstractAsyncContextManager[media.Media],
    put: trio.MemorySendChannel[media.Media],
    until_closed: trio.CancelScope,
) -> None:
    with until_closed:
        async with put, context as room:
            await put.send(room)
            await trio.sleep_forever()


async def _runtime(
    config: Config,
    database: Database,
    repositories: Repositories,
    room: media.Media,
    hashing: hashers.Hashers,
    health: HealthBoard,
) -> Runtime:
    """Return what all of it makes, its job kinds bound; says on ``health`` what is lacking."""
    engine = Engine(database, [], lease_s=float(config.jobs.lease_s), history_days=config.jobs.history_days)
    rt = Runtime(
        in_force=InForce(config),
        db=database,
        jobs=engine,
        repositories=repositories,
        media=room,
        owner_id=await database.call(users.ensure_admin),
        health=health,
        hashers=hashing,
    )
    for kind in job_kinds(rt):
        engine.kinds[kind.name] = kind
    if room.degraded:
        log.warning("metadata is degraded", extra={"reason": room.degraded})
        health.set("exiftool", "degraded", room.degraded)
    if room.left_out:
        health.set("media types", "degraded", room.left_out)
    health.set("sandbox", "degraded" if room.unprotected else "ready", room.unprotected or room.protections)
    return rt


@asynccontextmanager
async def opened_database(config: Config, environ: Mapping[str, str], health: HealthBoard) -> AsyncIterator[Database]:
    """Open the database: the embedded server, or the one ``database.url`` names; migrated."""
    url = configuration.database_url(config, environ)
    systemd.status("starting: the database" if url is None else "starting: connecting to the database")
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(embedded.locked(Path(config.state_dir)))
        if url is None:
            server = await trio.to_thread.run_sync(embedded.prepare, Path(config.state_dir).absolute())
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            serve = partial(embedded.serve, server)
            await nursery.start(partial(keep_running, health, "database", serve))
            await trio.to_thread.run_sync(embedded.create_database, server)
            url = server.conninfo
        database = await stack.enter_async_context(
            pool.opened(
                url,
                pool_size=config.database.pool_size,
                statement_timeout_s=float(config.database.statement_timeout_s),
            )
        )
        systemd.status("starting: the database is brought up to this version")
        for migration in await trio.to_thread.run_sync(_migrate, database):
            log.info("migrated", extra={"number": migration.number, "name_": migration.name})
        systemd.status("starting: repositories and media workers")
        yield database


def _migrate(database: Database) -> list[migrate.Migration]:
    conn = database.connect(autocommit=True)
    try:
        conn.execute("SET statement_timeout = 0")
        conn.execute("SET lock_timeout = 0")
        return migrate.migrate(conn, migrate.load(migrate.folder()))
    finally:
        conn.close()


def job_kinds(rt: Runtime) -> list[Kind]:
    """Bind every job kind that a plugin provides.

    Raises:
        ConfigError: a plugin does not give a kind.
    """
    found = []
    for name, setup in plugins.load_all("lumilio.job").items():
        kind = setup(rt) if callable(setup) else None
        if not isinstance(kind, Kind):
            raise ConfigError(f"the plugin {name} of lumilio.job gives no job kind", code="bad_plugin")
        found.append(kind)
    return found


def media_types() -> list[str]:
    """Return the media types that plugins provide, as ``module:attribute``; only worker processes import them.

    Raises:
        ConfigError: two packages claim a name.
    """
    return list(plugins.targets("lumilio.media").values())


def media_settings(config: Config) -> MediaSettings:
    """Return the media room's part of the configuration."""
    chosen = config.media
    return MediaSettings(
        workers=chosen.workers,
        memory_limit_mb=chosen.memory_limit_mb,
        wall_limit_s=float(chosen.wall_limit_s),
        max_pixels=chosen.max_megapixels * 1_000_000,
        thumbnail_format=chosen.thumbnail_format,
        thumbnail_quality=chosen.thumbnail_quality,
        exiftool=chosen.exiftool,
        conversions=config.jobs.concurrency.transcode,
        developments=config.jobs.concurrency.develop,
        video_encoder=chosen.video_encoder,
    )


def concurrency(config: Config) -> dict[str, int]:
    """Return how many jobs of each queue run at once.

    More media jobs than workers: what comes before and after a worker's part is done while the workers are busy.
    """
    lanes = config.jobs.concurrency
    return {
        "ingest": lanes.ingest,
        "media": lanes.media or len(os.sched_getaffinity(0)) + WAITING_MEDIA_JOBS,
        "transcode": lanes.transcode,
        "develop": lanes.develop,
        "ml": lanes.ml,
        "maintenance": lanes.maintenance,
        "integrity": lanes.integrity,
    }


async def attend_repositories(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep offline repositories in view: show them, try them again, and take up their work when they are back."""
    task_status.started()
    delay_s = REOPEN_FIRST_S
    while True:
        changed = rt.repositories.changed
        offline = rt.repositories.offline()
        for row in offline:
            opened_repository = await reopen(rt.db, rt.repositories, row)
            if opened_repository is not None and not await _adopted(rt, opened_repository):
                # what told of that is ours; the next try has its time
                changed = rt.repositories.changed
            elif opened_repository is not None:
                log.info("repository is back", extra={"repository": row.name})
                # its watcher has everything scanned, once its folders are watched: one before would be another
                is_watched = rt.config.watch.enabled
                hasten = partial(db_jobs.hasten, but=kinds.SCAN.kind if is_watched else "")
                await rt.jobs.call(hasten, opened_repository.id)
                await rt.jobs.call(purge.take_up, opened_repository.id)
                if not is_watched:
                    await rt.jobs.call(kinds.enqueue_one, kinds.scan(opened_repository.id, SyncType.STARTUP))
                await rt.jobs.call(schedules.declare_repositories, rt.repositories)
                delay_s = REOPEN_FIRST_S
        still = ", ".join(row.name for row in rt.repositories.offline())
        rt.health.set("repositories", "degraded" if still else "ready", f"offline: {still}" if still else None)
        # nothing offline, nothing to do: an idle machine's disks may sleep
        with trio.move_on_after(delay_s if still else math.inf):
            await changed.wait()
            delay_s = REOPEN_FIRST_S
        delay_s = min(delay_s * 2, REOPEN_MAX_S)


async def _adopt_all(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Take up, once after the start, what was left in the repositories; a service.

    Whoever asks for something meanwhile is answered: a phone may have left thousands of uploads.
    """
    task_status.started()
    for opened_repository in rt.repositories.online():
        await _adopted(rt, opened_repository)
    await trio.sleep_forever()


async def _adopted(rt: Runtime, opened_repository: Opened) -> bool:
    """Take up what was left in a repository; False where its disk fails: it is offline again, and others go on."""
    try:
        await adopt.staged(rt, opened_repository)
    except Unavailable as error:
        if error.code != "repository_offline":
            raise
        log.warning("repository is not taken up", extra={"id": str(opened_repository.id), "reason": error.message})
        return False
    return True


def _heard(engine: Engine, _channel: str, payload: str) -> None:
    engine.heard(payload)


def _report(health: HealthBoard, name: str, reason: str | None) -> None:
    health.set(name, "degraded" if reason else "ready", reason)
