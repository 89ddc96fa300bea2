"""Whether mirrors are there now, asked of the places themselves, however long one of them hangs."""

from collections.abc import Iterable

import trio

from lumiliod.db import mirrors
from lumiliod.db.mirrors import Mirror
from lumiliod.domain.errors import Unavailable
from lumiliod.pipeline.mirror import reach
from lumiliod.runtime import Runtime
from lumiliod.storage import mirrors as storage

LOOK_S = 5.0
"""How long a place may take to answer before it counts as away."""


async def look(rt: Runtime, rows: Iterable[Mirror]) -> None:
    """Ask each mirror that was ever used whether it is there, all at once, and have its row say so."""
    async with trio.open_nursery() as nursery:
        for row in rows:
            # a thread that hangs on a mount is left behind; one for each mirror is enough
            if row.introduced_at is not None and row.id not in rt.mirrors_asked:
                nursery.start_soon(_look, rt, row)


async def _look(rt: Runtime, mirror: Mirror) -> None:
    try:
        with trio.fail_after(LOOK_S):
            # not of rt.disk: a disk that hangs would take what reads the others
            await trio.to_thread.run_sync(_ask, rt, mirror, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1))
    except trio.TooSlowError:
        await rt.db.call(mirrors.set_status, mirror.id, "offline", storage.away("it does not answer").message)
    except Unavailable as error:
        await rt.db.call(mirrors.set_status, mirror.id, "offline", error.message)
    else:
        if mirror.status == "offline":
            await rt.db.call(mirrors.note_reached, mirror.id)


def _ask(rt: Runtime, mirror: Mirror) -> None:
    rt.mirrors_asked.add(mirror.id)
    try:
        reach(rt, mirror, storage.opened)
    finally:
        rt.mirrors_asked.discard(mirror.id)
