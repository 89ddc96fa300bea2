"""A look at everything that may keep the library from working, each with what helps; nothing is changed."""

import datetime as dt
import os
import shlex
from collections.abc import Iterator, Mapping
from functools import partial

import trio

from lumiliod.config import Config
from lumiliod.contract.doctor import Check, CheckState, Checkup
from lumiliod.db import condition
from lumiliod.db.pool import Database
from lumiliod.db.repositories import RepositoryRow
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.text import size_text
from lumiliod.library import machine
from lumiliod.media.media import Media
from lumiliod.runtime import Runtime

DISK_LIMIT_S = 5.0
"""How long a disk may take to say how full it is: one on a network may hang."""


async def checkup(rt: Runtime) -> Checkup:
    """Look at everything from inside the daemon."""
    checks = [
        *of_tools(rt.media),
        *await trio.to_thread.run_sync(machine.of_machine, rt.config),
        *await of_database(rt.db),
        *_services(rt),
    ]
    for found in await _repositories(rt):
        checks += found
    return Checkup(checks=checks)


async def outside(config: Config, room: Media, database: Database | LumilioError) -> Checkup:
    """Look at what can be seen while no daemon runs."""
    checks = [*of_tools(room), *await trio.to_thread.run_sync(machine.of_machine, config)]
    if isinstance(database, LumilioError):
        checks.append(_away(database))
    else:
        checks += await of_database(database)
    return Checkup(checks=checks)


def of_tools(room: Media) -> Iterator[Check]:
    """Tell the tools at work, and what is lacking."""
    yield from _versions(room.tools)
    if room.degraded:
        fix = "Install it: apt install libimage-exiftool-perl, or name it in media.exiftool."
        yield Check(area="tools", name="metadata", state="warn", told=room.degraded, fix=fix)
    if room.left_out:
        fix = "Update or remove the packages that are named, and start the daemon again."
        yield Check(area="tools", name="media types", state="warn", told=room.left_out, fix=fix)
    if room.unprotected:
        fix = "Use a kernel with Landlock and seccomp (5.13 or newer), and let user namespaces be made."
        yield Check(area="sandbox", name="protections", state="warn", told=room.unprotected, fix=fix)
    else:
        yield Check(area="sandbox", name="protections", state="ok", told=room.protections)


def _versions(tools: Mapping[str, str]) -> Iterator[Check]:
    for name, version in sorted(tools.items()):
        if name != "sandbox":
            yield Check(area="tools", name=name, state="ok", told=version)


async def of_database(database: Database) -> list[Check]:
    """Check that the database answers, is migrated, and agrees about the time."""
    try:
        found = await database.call(condition.condition)
        ours = dt.datetime.now(dt.UTC)
        await trio.to_thread.run_sync(condition.check_migrated, database)
    except LumilioError as error:
        return [_away(error)]
    told = f"PostgreSQL {found.server_version}, {size_text(found.size_bytes)}"
    return [
        Check(area="database", name="server", state="ok", told=told),
        Check(area="database", name="migrations", state="ok", told="all are applied"),
        machine.of_clocks(ours, found.at),
    ]


def _away(error: LumilioError) -> Check:
    if error.code == "not_migrated":
        fix = "Start the daemon: it migrates."
        return Check(area="database", name="migrations", state="warn", told=error.message, fix=fix)
    fix = "Start the daemon, which runs its own server, or see to the one that database.url names; its log says more."
    return Check(area="database", name="server", state="fail", told=error.message, fix=fix)


def _services(rt: Runtime) -> Iterator[Check]:
    for one in rt.health.snapshot().services:
        if one.state in ("ready", "starting"):
            continue
        state: CheckState = "fail" if one.state == "failed" else "warn"
        told = f"{one.state}: {one.reason}" if one.reason else one.state
        fix = "The log says more: journalctl -u lumiliod"
        yield Check(area="services", name=one.name, state=state, told=told, fix=fix)


async def _repositories(rt: Runtime) -> list[list[Check]]:
    """Look at all at once: of several disks that hang each would take its time."""
    rows = rt.repositories.rows()
    found: list[list[Check]] = [[] for _ in rows]

    async def look(number: int, row: RepositoryRow) -> None:
        found[number] = await _repository(rt, row)

    async with trio.open_nursery() as nursery:
        for number, row in enumerate(rows):
            nursery.start_soon(look, number, row)
    return found


async def _repository(rt: Runtime, row: RepositoryRow) -> list[Check]:
    if not rt.repositories.is_open(row.id):
        if row.status == "detached":
            return [Check(area="repositories", name=row.name, state="ok", told="detached, as somebody asked")]
        fix = f"Mount its disk; where it lies elsewhere now: lumilio repos relocate {shlex.quote(row.name)} PATH"
        told = f"offline: {row.status_reason}"
        return [Check(area="repositories", name=row.name, state="fail", told=told, fix=fix)]
    checks: list[Check] = []
    with trio.move_on_after(DISK_LIMIT_S):
        look = partial(_place, row.name, row.root, rt.config.storage.min_free_mb << 20)
        checks = await trio.to_thread.run_sync(look, limiter=rt.disk, abandon_on_cancel=True)
    if not checks:
        told, fix = f"the disk of {row.root} does not answer", "See to the disk, or to the network it is reached by."
        return [Check(area="repositories", name=row.name, state="fail", told=told, fix=fix)]
    watched = rt.watched.get(row.id)
    if watched is not None and watched.is_lacking:
        told = f"changes are not noticed at once: {watched.reason}"
        checks.append(Check(area="repositories", name=row.name, state="warn", told=told, fix="Do what it says."))
    return checks


def _place(name: str, root: str, least_bytes: int) -> list[Check]:
    if os.access(root, os.R_OK | os.W_OK | os.X_OK):
        place = Check(area="repositories", name=name, state="ok", told=f"online at {root}, and may be written to")
    else:
        fix = f"Let user {os.geteuid()} write there, or mount it writable."
        place = Check(area="repositories", name=name, state="fail", told=f"{root} may not be written to", fix=fix)
    return [place, machine.of_room(name, root, least_bytes)]
