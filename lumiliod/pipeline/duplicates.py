"""Uploads whose bytes another repository has: whether this one gets a file of its own (``storage.duplicates``)."""

from functools import partial

import trio

from lumiliod.db import assets, files
from lumiliod.db.pool import Connection
from lumiliod.domain.assets import FileRecord, Outcome
from lumiliod.domain.errors import LumilioError
from lumiliod.domain.ids import AssetId, RepoPath, shown
from lumiliod.jobs.engine import Effect, Result
from lumiliod.pipeline import renewal
from lumiliod.pipeline import trash as removal
from lumiliod.runtime import Opened, Runtime
from lumiliod.storage import originals
from lumiliod.storage.backend import LocalPaths
from lumiliod.storage.layout import Placing
from lumiliod.storage.originals import Placed
from lumiliod.storage.staging import Staged

INBOX = "inbox/"


async def kept(rt: Runtime, opened: Opened, staged: Staged, item: Placing, known: AssetId, note: Effect) -> Effect:
    """Place a known upload in ``opened``, too, if that is wanted; return what is to be written.

    ``link`` shares the bytes of the original where both lie in inboxes on one file system; ``keep``, and
    ``link`` elsewhere, store them once more. What is in the trash comes back by ``note`` alone.
    """
    how = rt.config.storage.duplicates
    original = await rt.db.call(files.original_of, known)
    if how == "skip" or original is None or original.repository_id == opened.id:
        return note
    source = _shared(rt, original) if how == "link" else None
    policy = opened.repository.marker.local_settings.handle_duplicate_filenames
    names = list(originals.names(opened.repository, opened.layout, item, policy))
    taken = await rt.db.call(files.taken, opened.id, known, names)
    placed = await trio.to_thread.run_sync(_place, opened, staged, item, source, taken, limiter=rt.disk)
    return partial(_settle, opened, known, item, placed)


def _shared(rt: Runtime, original: FileRecord) -> str | None:
    """Return where the original lies, if its bytes may be shared: a person's own file may be written to."""
    if not original.path.startswith(INBOX):
        return None
    try:
        backend = rt.repositories.get(original.repository_id).backend
    except LumilioError:
        return None
    return backend.local_path(original.path) if isinstance(backend, LocalPaths) else None


def _place(opened: Opened, staged: Staged, item: Placing, source: str | None, taken: set[RepoPath]) -> Placed:
    policy = opened.repository.marker.local_settings.handle_duplicate_filenames
    where = (opened.repository, opened.backend, opened.layout)
    if source is not None:
        try:
            return originals.commit(*where, source, item, policy, taken)
        except LumilioError:
            pass  # the original was moved just now; the bytes are here as well
    return originals.commit(*where, staged.path, item, policy, taken)


def _settle(opened: Opened, known: AssetId, item: Placing, placed: Placed, conn: Connection) -> Result:
    removal.bring_bytes_back(conn, known)
    if not assets.has_digest(conn, known, item.digest):
        raise renewal.changed(known)
    files.place(conn, opened.id, placed.path, placed.stat, item.digest, known, Outcome.DUPLICATE)
    return {"asset_id": str(known), "outcome": Outcome.DUPLICATE, "path": shown(placed.path)}
