"""Develop: a photograph in full size as every browser shows it, when somebody asks for it."""

import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import trio

from lumiliod.db import assets
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import NewDerivative
from lumiliod.domain.derivatives import PHOTO_WEB, RECIPES
from lumiliod.domain.errors import NotFound, Permanent, Unavailable
from lumiliod.domain.ids import Digest, path_from_bytes
from lumiliod.domain.media import AssetType
from lumiliod.jobs.engine import Result, Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.media.media import PHOTO_NAME
from lumiliod.media.wire import Developed
from lumiliod.pipeline import deriving, kinds, prune
from lumiliod.pipeline.deriving import Unrecorded
from lumiliod.runtime import Runtime
from lumiliod.storage import pump
from lumiliod.storage.repository import Repository


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``develop``."""

    async def run(running: Running) -> None:
        await develop(rt, running)

    missing, name, queue = kinds.missing_developments, kinds.DEVELOP.kind, kinds.DEVELOP.queue
    return Kind(name, queue, each(run), limit_s=600, missing=missing)


async def develop(rt: Runtime, running: Running) -> None:
    """Make the version for the web of a photo, of a RAW by developing its sensor data; of nothing else there is one.

    Raises:
        Unavailable: the repository is away, or too little room is left on its disk (``no_space``).
    """
    stack = AsyncExitStack()

    async def ask(repo: Repository, source: assets.Source) -> tuple[str, Developed] | None:
        if source.type != AssetType.PHOTO:
            return None
        folder = await stack.enter_async_context(deriving.scratch(rt, repo))
        check = partial(pump.check_room, repo, min_free_bytes=rt.config.storage.min_free_mb << 20)
        await trio.to_thread.run_sync(check, source.size_bytes, limiter=rt.disk)
        return folder, await rt.media.develop(repo.absolute(path_from_bytes(source.path)), folder)

    async with stack:
        await deriving.derive(rt, [running], ask, _store, _record)
    if running.job.repository_id is not None:
        with suppress(NotFound, Unavailable):  # it is there with the next one
            await prune.evict(rt, rt.repositories.get(running.job.repository_id), PHOTO_WEB)


def _store(repo: Repository, digest: Digest, made_in: tuple[str, Developed] | None) -> list[NewDerivative]:
    if made_in is None:
        return []
    folder, developed = made_in
    made = Path(folder, PHOTO_NAME)
    with made.open("rb") as file:  # not what a worker says of it
        is_jpeg, size_bytes = file.read(3) == b"\xff\xd8\xff", os.fstat(file.fileno()).st_size
    if not is_jpeg:
        raise Permanent("no picture was written", code="corrupt")
    path = deriving.put(repo, digest, PHOTO_WEB, str(made), ".jpg")
    width, height = developed.width, developed.height
    return [NewDerivative(PHOTO_WEB, path, RECIPES[PHOTO_WEB], "image/jpeg", size_bytes, width, height)]


def _record(conn: Connection, lying: Sequence[Unrecorded[list[NewDerivative]]]) -> list[Result]:
    made = [one.stored for one in lying]
    deriving.record(conn, lying, made)
    return [{"made": [derivative.kind for derivative in derivatives]} for derivatives in made]
