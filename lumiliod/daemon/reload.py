"""SIGHUP: the configuration is read again, and what can change while the daemon runs is changed.

What a file says wrongly changes nothing at all. What needs a restart stays as it is and is named: in the log, in the
health of ``configuration`` and in the line that the service manager shows.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

import msgspec
import trio

from lumiliod.config import Config
from lumiliod.daemon import logs, status_line, systemd
from lumiliod.domain.errors import ConfigError, LumilioError
from lumiliod.pipeline import schedules
from lumiliod.runtime import Runtime

log = logging.getLogger(__name__)

LIVE = frozenset(
    {
        "storage.min_free_mb",
        "storage.max_upload_mb",
        "storage.duplicates",
        "storage.trash_days",
        "storage.secrets_dir",
        "media.web_videos_budget_mb",
        "media.web_photos_budget_mb",
        "media.hls_cache_mb",
        "jobs.concurrency.ingest",
        "jobs.concurrency.media",
        "jobs.concurrency.ml",
        "jobs.concurrency.maintenance",
        "jobs.concurrency.integrity",
        "integrity.scrub_days",
        "integrity.scrub_mb_per_s",
        "integrity.heal",
        "integrity.copies",
        "watch.debounce_ms",
        "log.level",
        "log.format",
        "log.limit_per_minute",
    }
)
"""What is asked for whenever it is needed. ``transcode`` and ``develop`` have worker processes: they need a restart."""

_S = TypeVar("_S", bound=msgspec.Struct)


async def on_hangup(
    rt: Runtime,
    hangups: AsyncIterator[int],
    load: Callable[[], Config],
    lanes: Callable[[Config], dict[str, int]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Read the configuration again with every signal of ``hangups``, until cancelled.

    Args:
        rt: the running daemon.
        hangups: what :func:`trio.open_signal_receiver` gave.
        load: returns the configuration as its file is now; blocks, and raises ConfigError.
        lanes: returns how many jobs of each queue run at once.
        task_status: started at once.
    """
    task_status.started()
    async for _ in hangups:
        systemd.reloading("reading the configuration again")
        try:
            await take_over(rt, await trio.to_thread.run_sync(load), lanes)
        except ConfigError as error:
            log.error("the configuration is wrong; nothing is changed", extra={"reason": error.message})
            rt.health.set(status_line.CONFIGURATION, "degraded", f"nothing was changed: {error.message}")
        except LumilioError as error:
            log.error("the configuration cannot be taken over; nothing is changed", extra={"reason": error.message})
            reason = f"nothing was changed, reload again when it can be: {error.message}"
            rt.health.set(status_line.CONFIGURATION, "degraded", reason)
        finally:
            # whatever came of it the service manager waits for this, unless it was told meanwhile that the daemon stops
            if not rt.health.is_stopping:
                systemd.ready(status_line.line(rt))


async def take_over(rt: Runtime, read: Config, lanes: Callable[[Config], dict[str, int]]) -> None:
    """Put what may change now in force, and say what needs a restart.

    Raises:
        LumilioError: the database does not take a schedule; nothing is in force then.
    """
    before = rt.config
    differing = differences(before, read)
    now = [key for key in differing if key in LIVE]
    later = [key for key in differing if key not in LIVE]
    after = merged(before, read, now)
    # first what may fail: a schedule that could not be written is written by the next signal
    if "storage.trash_days" in now:
        await rt.jobs.call(schedules.declare_trash, after.storage.trash_days)
    if "integrity.scrub_days" in now:
        await rt.jobs.call(schedules.declare_scrub, after.integrity.scrub_days)
    rt.in_force.config = after
    if any(key.startswith("log.") for key in now):
        logs.configure(after.log.level, after.log.format, per_minute=after.log.limit_per_minute)
    rt.jobs.queues.configure(lanes(after))
    log.info("configuration read again", extra={"changed": ", ".join(now), "needs_restart": ", ".join(later)})
    if later:
        rt.health.set(status_line.CONFIGURATION, "ready", f"a restart is needed for {', '.join(later)}")
    else:
        rt.health.forget(status_line.CONFIGURATION)


def differences(one: msgspec.Struct, other: msgspec.Struct, at: str = "") -> list[str]:
    """Return the keys whose values differ, in the order of the file, as ``section.key``."""
    found: list[str] = []
    for field in msgspec.structs.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        if isinstance(left, msgspec.Struct):
            found += differences(left, right, f"{at}{field.name}.")
        elif left != right:
            found.append(f"{at}{field.name}")
    return found


def merged(old: _S, new: _S, keys: Iterable[str], at: str = "") -> _S:
    """Return ``old`` with the values of ``keys`` taken from ``new``."""
    wanted = frozenset(keys)
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(old):
        name, left, right = f"{at}{field.name}", getattr(old, field.name), getattr(new, field.name)
        if isinstance(left, msgspec.Struct):
            values[field.name] = merged(left, right, wanted, f"{name}.")
        elif name in wanted:
            values[field.name] = right
    return msgspec.structs.replace(old, **values)
