"""How the file is that a known asset is served from, when its bytes are met once more."""

from dataclasses import dataclass
from enum import Enum
from functools import partial

import trio

from lumiliod.db import files, findings, integrity, trash
from lumiliod.db.integrity import Expected
from lumiliod.domain.assets import FileRecord, FileStat
from lumiliod.domain.errors import NotFound, Permanent, Unavailable
from lumiliod.domain.ids import AssetId, Digest, RepoPath, RepositoryId
from lumiliod.domain.trash import TrashState
from lumiliod.pipeline import trash as removal
from lumiliod.pipeline.examine import HEALED_UNASKED
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import check, repository
from lumiliod.storage import trash as trash_storage
from lumiliod.storage.check import Checked, Verdict
from lumiliod.storage.digesting import digest_file
from lumiliod.storage.throttle import UNLIMITED

AWAY_CODES = frozenset({"repository_offline", "repository_detached"})


class Original(Enum):
    """How the file is that a known asset is served from."""

    NONE = "the asset was not known"
    GOOD = "its bytes are there"
    DAMAGED = "a file is there with other bytes, or none can be read"
    ROTTEN = "the disk has lost its bytes: nobody wrote the file"
    GONE = "no file is there"
    AWAY = "its repository is: nothing is known of it, and nothing is let go for it"


@dataclass(frozen=True, slots=True)
class Former:
    """The record of the file that an asset was served from when that was looked at, and how that file was."""

    record: FileRecord
    state: Original


@dataclass(frozen=True, slots=True)
class Known:
    """How the original of an asset is, and its record where it has one; of a rotten one what was read of it."""

    state: Original
    record: FileRecord | None = None
    rot: tuple[Expected, Checked] | None = None


async def read_original(rt: Runtime, asset_id: AssetId, digest: Digest) -> Known:
    """Read an asset's original again before bytes that were given once more are let go.

    Raises:
        Unavailable: it is in the trash of a repository that is offline, or a disk does not answer now.
    """
    record = await rt.db.call(files.original_of, asset_id)
    if record is not None:
        try:
            return await _read(rt, record, digest)
        except Unavailable as error:
            if error.code not in AWAY_CODES:
                raise
        return Known(Original.AWAY, record)
    states = {await _state_of_file(rt, opened, path, digest) for opened, path in await _held_in_trash(rt, asset_id)}
    return Known(next((state for state in (Original.GOOD, Original.DAMAGED) if state in states), Original.GONE))


async def _read(rt: Runtime, record: FileRecord, digest: Digest) -> Known:
    """Read the file of a record; one that is damaged is read as scrubbing does, which knows rot from an edit."""
    opened = rt.repositories.get(record.repository_id)
    refused: Unavailable | None = None
    state = Original.DAMAGED
    try:
        state = await _state_of_file(rt, opened, opened.repository.absolute(record.path), digest)
    except Unavailable as error:
        if error.code in AWAY_CODES:
            raise
        refused = error
    expected = await rt.db.call(integrity.file, record.id) if state is Original.DAMAGED else None
    if expected is None or expected.digest != digest:
        if refused is not None:
            raise refused
        return Known(state, record)
    look = partial(check.check, opened.repository, record.path, digest, record.stat, UNLIMITED)
    with reaching(rt.repositories, opened):
        checked = await trio.to_thread.run_sync(look, limiter=rt.disk)
    if checked.verdict is Verdict.GOOD:
        return Known(Original.GOOD, record)
    if checked.code in HEALED_UNASKED:
        return Known(Original.ROTTEN, record, (expected, checked))
    return Known(Original.DAMAGED, record)


async def _state_of_file(rt: Runtime, opened: Opened, path: str, digest: Digest) -> Original:
    try:
        found, _ = await trio.to_thread.run_sync(_read_at, opened, path, limiter=rt.disk)
    except NotFound:
        await _check_reached(rt, opened)
        return Original.GONE
    except Permanent:
        await _check_reached(rt, opened)
        return Original.DAMAGED
    return Original.GOOD if found == digest else Original.DAMAGED


async def _held_in_trash(rt: Runtime, asset_id: AssetId) -> list[tuple[Opened, str]]:
    """Return every path at which the bytes of an asset in the trash may lie.

    Raises:
        Unavailable: it is being purged, or a repository of it is offline.
    """
    found = await rt.db.call(trash.item, asset_id)
    if found is None:
        return []
    if found.state is TrashState.DOOMED:
        raise removal.moving(asset_id)
    hidden: list[tuple[RepositoryId, RepoPath]] = await rt.db.call(trash.hidden_paths, asset_id)
    paths = [(rt.repositories.get(repository_id), path) for repository_id, path in hidden]
    held = [(opened, opened.repository.absolute(path)) for opened, path in paths]
    for file in found.files:
        opened = rt.repositories.get(file.repository_id)
        # on the way there it may still be at its place, on the way back there again
        held.append((opened, trash_storage.path_of(opened.repository, file.id)))
        held.append((opened, opened.repository.absolute(file.path)))
    return held


async def look_at(rt: Runtime, record: FileRecord) -> Former:
    """Look at a file; one that is in the state its record was written for is good, unless somebody wrote it."""
    try:
        return await _look_at(rt, record)
    except Unavailable as error:
        if error.code not in AWAY_CODES:
            raise
    return Former(record, Original.AWAY)


async def _look_at(rt: Runtime, record: FileRecord) -> Former:
    opened = rt.repositories.get(record.repository_id)
    try:
        found = await trio.to_thread.run_sync(opened.backend.stat, record.path, limiter=rt.disk)
    except (NotFound, Permanent) as error:
        await _check_reached(rt, opened)
        return Former(record, Original.GONE if isinstance(error, NotFound) else Original.DAMAGED)
    known = await rt.db.call(findings.finding_of_file, record.id)
    if known is not None and known.kind == "changed":
        return Former(record, Original.DAMAGED)
    is_unchanged = (found.size_bytes, found.mtime_ns) == (record.stat.size_bytes, record.stat.mtime_ns)
    return Former(record, Original.GOOD if is_unchanged else Original.DAMAGED)


async def _check_reached(rt: Runtime, opened: Opened) -> None:
    with reaching(rt.repositories, opened):
        await trio.to_thread.run_sync(repository.check_identity, opened.repository, limiter=rt.disk)


def _read_at(opened: Opened, path: str) -> tuple[Digest, FileStat]:
    return digest_file(path, root=opened.repository.root, uncached=True)
