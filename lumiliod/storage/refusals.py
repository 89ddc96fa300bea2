"""Refused uploads: bytes in ``failed`` with their reason, until a person has them tried again or removes them."""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime

from lumiliod.domain.errors import NotFound
from lumiliod.domain.ids import UploadId
from lumiliod.storage import durable, staging
from lumiliod.storage.repository import Repository
from lumiliod.storage.staging import Reason

NO_REASON = "reason_unreadable"


def kept(repo: Repository) -> list[tuple[UploadId, Reason]]:
    """Return every refused upload, oldest first. Blocks.

    Raises:
        Unavailable: the disk fails.
    """
    try:
        with durable.translated("read", repo.failed):
            named = staging.ids(repo.failed)
    except NotFound:  # it is made when there is something to put there
        return []
    found = [(id_, find(repo, id_)) for id_ in named]
    return [(id_, reason) for id_, reason in found if reason is not None]


def find(repo: Repository, id: UploadId) -> Reason | None:  # noqa: A002  the word of the room
    """Return why an upload was refused whose bytes are kept, None when they are not. Blocks.

    Raises:
        Unavailable: the disk fails.
    """
    path = os.path.join(repo.failed, str(id))
    with durable.translated("read", path):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        try:
            reason = staging.read_reason(repo, id)
        except (IsADirectoryError, PermissionError):
            reason = None
    if reason is not None:
        return reason
    return Reason(
        filename="",
        digest="",
        size_bytes=found.st_size,
        owner_id=None,
        code=NO_REASON,
        message="why it was refused cannot be read any more",
        at=datetime.fromtimestamp(found.st_mtime, UTC),
    )


def remove(repo: Repository, id: UploadId) -> None:  # noqa: A002
    """Forget a refused upload; the bytes go last, so that a crash leaves what :func:`kept` still tells. Blocks.

    Raises:
        Unavailable: the disk does not do it now.
    """
    path = os.path.join(repo.failed, str(id))
    with durable.translated("remove", str(id), writing=True):
        with suppress(IsADirectoryError):  # not ours
            durable.unlink(f"{path}.reason.json")
        durable.fsync_folder(repo.failed)
        durable.unlink(path)
        durable.fsync_folder(repo.failed)
