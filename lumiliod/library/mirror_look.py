"""Whether mirrors are there now, asked of the places themselves, however long one of them hangs."""

from collections.abc import Iterable, Mapping
from uuid import UUID

import trio

from lumiliod.db import mirrors
from lumiliod.db.mirrors import Mirror
from lumiliod.db.pool import Connection
from lumiliod.domain.errors import Unavailable
from lumiliod.pipeline.mirror import reach
from lumiliod.runtime import Runtime
from lumiliod.storage import mirrors as storage

LOOK_S = 5.0
"""How long a place may take to answer before it counts as away."""


async def look(rt: Runtime, rows: Iterable[Mirror]) -> None:
    """Ask each mirror that was ever used whether it is there, all at once, and have their rows say so."""
    # a thread that hangs on a mount is left behind; one for each mirror is enough
    asked = [row for row in rows if row.introduced_at is not None and row.id not in rt.mirrors_asked]
    away: dict[UUID, str] = {}
    async with trio.open_nursery() as nursery:
        for row in asked:
            nursery.start_soon(_look, rt, row, away)
    await rt.db.call(_note, asked, away)


async def _look(rt: Runtime, mirror: Mirror, away: dict[UUID, str]) -> None:
    """Ask one mirror; say in ``away`` why it is not there."""
    try:
        with trio.fail_after(LOOK_S):
            # not of rt.disk: a disk that hangs would take what reads the others
            await trio.to_thread.run_sync(_ask, rt, mirror, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except trio.TooSlowError:
        away[mirror.id] = storage.away("it does not answer").message
    except Unavailable as error:
        away[mirror.id] = error.message


def _note(conn: Connection, asked: Iterable[Mirror], away: Mapping[UUID, str]) -> None:
    for mirror in asked:
        if mirror.id in away:
            mirrors.set_status(conn, mirror.id, "offline", away[mirror.id])
        elif mirror.status == "offline":
            mirrors.note_reached(conn, mirror.id)


def _ask(rt: Runtime, mirror: Mirror) -> None:
    rt.mirrors_asked.add(mirror.id)
    try:
        reach(rt, mirror, storage.opened)
    finally:
        rt.mirrors_asked.discard(mirror.id)
