"""The daemon in a line, as ``systemctl status`` shows it, kept true while it serves."""

from collections.abc import Callable

import trio

from lumiliod.daemon import systemd
from lumiliod.runtime import Runtime

REASON_MAX = 120
"""So much of a reason is told in the line; all of it stands in ``/health``."""
CONFIGURATION = "configuration"
"""The health of what was read again: what is wrong with it, or what of it waits for a restart."""


def line(rt: Runtime) -> str:
    """Return it: ``serving; 3 repositories, 1 offline; degraded: encoder (…)``."""
    parts = ["serving", _repositories(rt)]
    services = {service.name: service for service in rt.health.snapshot().services}
    lacking = [
        f"{name} ({_short(service.reason)})" if service.reason else name
        for name, service in services.items()
        if service.state in {"degraded", "failed"} and name != "repositories"
    ]
    if lacking:
        parts.append(f"degraded: {', '.join(lacking)}")
    configuration = services.get(CONFIGURATION)
    if configuration is not None and configuration.state == "ready" and configuration.reason:
        parts.append(_short(configuration.reason))
    return "; ".join(parts)


async def keep_true(rt: Runtime, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Tell the service manager the line whenever it is another one, until cancelled."""
    told = ""

    def tell() -> None:
        nonlocal told
        now = line(rt)
        if now != told and not rt.health.is_stopping:
            systemd.status(now)
            told = now

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_whenever, lambda: rt.health.changed, tell)
        nursery.start_soon(_whenever, lambda: rt.repositories.came_or_went, tell)
        task_status.started()


async def _whenever(event: Callable[[], trio.Event], tell: Callable[[], None]) -> None:
    while True:
        # taken first: what happens while it is told is told, too
        current = event()
        tell()
        await current.wait()


def _repositories(rt: Runtime) -> str:
    count, offline = len(rt.repositories.rows()), len(rt.repositories.offline())
    if not count:
        return "no repository yet"
    text = f"{count} {'repository' if count == 1 else 'repositories'}"
    return f"{text}, {offline} offline" if offline else text


def _short(text: str) -> str:
    first = text.partition("\n")[0]
    return first if len(first) <= REASON_MAX else f"{first[: REASON_MAX - 1]}…"
