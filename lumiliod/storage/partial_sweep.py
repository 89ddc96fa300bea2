"""What is left of uploads in several requests: given up when nobody goes on, finished when a writer was killed."""

import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from lumiliod.domain.ids import UploadId
from lumiliod.storage import durable, staging
from lumiliod.storage.one_by_one import each
from lumiliod.storage.partial import MAX_AGE, bytes_path, find, ids, is_over, read_terms, removed, stage
from lumiliod.storage.repository import Repository
from lumiliod.storage.staging import PARTIAL


def expire(repo: Repository, now: datetime) -> list[UploadId]:
    """Forget what nobody goes on with; return those. What is whole is left to be staged. Blocks."""
    gone: list[UploadId] = []

    def expire_bytes(id_: UUID) -> None:
        upload_id = UploadId(id_)
        terms = read_terms(repo, upload_id)
        if terms is None:
            # its maker was killed between two steps, or its terms cannot be read
            over = _is_old(bytes_path(repo, upload_id), now)
        else:
            one = find(repo, upload_id)
            over = one is not None and is_over(one, now)
        if over and removed(repo, upload_id):
            gone.append(upload_id)

    def expire_terms(id_: UUID) -> None:
        # what remains of those that are complete is for senders who did not hear it
        upload_id = UploadId(id_)
        one = find(repo, upload_id)
        over = _is_old(f"{bytes_path(repo, upload_id)}.json", now) if one is None else one.terms.expires_at <= now
        if over and _is_settled(repo, upload_id) and removed(repo, upload_id):
            gone.append(upload_id)

    def expire_temp(id_: UUID) -> None:
        # whoever wrote it was killed before it got its name
        path = bytes_path(repo, UploadId(id_))
        with durable.owned_by_nobody(path) as fd:
            if _is_old(f"{path}.json.tmp", now) and (fd is not None or not os.path.lexists(path)):
                durable.unlink(f"{path}.json.tmp")

    with durable.translated("sweep", repo.incoming, writing=True):
        each("sweep", list(ids(repo, PARTIAL)), expire_bytes)
        each("sweep", list(ids(repo, f"{PARTIAL}.json")), expire_terms)
        each("sweep", list(ids(repo, f"{PARTIAL}.json.tmp")), expire_temp)
    return gone


def recover(repo: Repository, only: Sequence[UploadId] | None = None) -> list[UploadId]:
    """Take the last steps of uploads that were complete when their writer was killed; return those. Blocks.

    One that had taken all but the last, and of which nobody knows any more what was said, is kept in ``failed``.

    Args:
        repo: where they are.
        only: which ones are looked at, None for all.
    """
    done: list[UploadId] = []

    def recover_one(id_: UUID) -> None:
        one = find(repo, UploadId(id_))
        if one is None:
            _set_aside(repo, UploadId(id_))
            return
        if one.terms.digest is None or _is_settled(repo, one.id):
            return
        path = bytes_path(repo, one.id)
        with durable.owned_by_nobody(path if os.path.lexists(path) else path.removesuffix(PARTIAL)) as fd:
            if fd is not None:
                stage(repo, one.id, one.terms)
                done.append(one.id)

    with durable.translated("recover uploads in", repo.incoming, writing=True):
        each("recover", list(ids(repo, f"{PARTIAL}.json")) if only is None else only, recover_one)
    return done


def _is_settled(repo: Repository, id_: UploadId) -> bool:
    """Tell whether the bytes of a complete upload are a staged file, or were one."""
    path = os.path.join(repo.incoming, str(id_))
    return not os.path.lexists(f"{path}{PARTIAL}") and (not os.path.lexists(path) or os.path.lexists(f"{path}.json"))


def _set_aside(repo: Repository, id_: UploadId) -> None:
    """Keep bytes in ``failed`` that were all there, when the terms that said so cannot be read."""
    path = os.path.join(repo.incoming, str(id_))
    if _is_settled(repo, id_) or os.path.lexists(f"{path}{PARTIAL}") or not os.path.lexists(f"{path}{PARTIAL}.json"):
        return
    with durable.owned_by_nobody(path) as fd:
        if fd is not None:
            staging.set_aside(repo, id_, "mark_unreadable", "what was received with the file cannot be read")
            durable.unlink(f"{path}{PARTIAL}.json")


def _is_old(path: str, now: datetime) -> bool:
    return os.lstat(path).st_mtime <= (now - MAX_AGE).timestamp()
