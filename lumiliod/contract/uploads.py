"""Uploads on the wire: what need not be sent, and how much may be."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from lumiliod.contract.jobs import Job


class DigestsWanted(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /assets/check``: BLAKE3-256 digests in hex."""

    digests: Annotated[list[str], Meta(max_length=10_000)]


class KnownDigest(Struct, kw_only=True):
    """An original the library has; one in the trash will be purged, unless it is restored or sent again."""

    digest: str
    asset_id: UUID
    in_trash: bool


class DigestsKnown(Struct, kw_only=True):
    """Which of the digests the library has, and which it has not, in the order asked."""

    known: list[KnownDigest]
    unknown: list[str]


class UploadUnderWay(Struct, kw_only=True):
    """A resumable upload that is not complete: ``offset`` bytes are here, and room is kept for the rest.

    It is given up at ``expires_at`` unless more arrives. ``size_bytes`` None: its sender will tell.
    """

    id: UUID
    filename: str
    repository: str
    owner_id: UUID | None
    is_part: bool
    offset: int
    size_bytes: int | None
    created_at: datetime
    expires_at: datetime


class RefusedUpload(Struct, kw_only=True):
    """An upload that was complete and could not be ingested; its bytes are kept until somebody removes it.

    ``state`` is ``refused``, or ``queued`` while it is tried again, which a retry of the job ``task_id`` does.
    ``code`` is stable, ``reason`` is for people.
    """

    id: UUID
    state: str
    filename: str
    repository: str
    owner_id: UUID
    owner: str | None
    size_bytes: int
    digest: str | None
    code: str
    reason: str
    refused_at: datetime
    task_id: UUID | None


def was_refused(job: Job) -> bool:
    """Tell whether the job of an upload ended because of what the upload holds; its bytes are kept then."""
    last = job.errors[-1] if job.errors else None
    if last is None or job.state not in ("discarded", "cancelled"):
        return False
    return last.error_class in ("Permanent", "Refused") and last.code != "staged_missing"


class UploadList(Struct, kw_only=True):
    """All resumable uploads that are not complete, and all that were refused, oldest first.

    What lies in the repositories ``offline``, by name, is not among them.
    """

    items: list[UploadUnderWay]
    refused: list[RefusedUpload]
    offline: list[str] = []


class Quota(Struct, kw_only=True):
    """How much a person may keep, in bytes; ``limit_bytes`` None means as much as there is room for."""

    user: str
    limit_bytes: int | None
    used_bytes: int


class QuotaChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """Body of ``PUT /users/{name}/quota``."""

    limit_bytes: Annotated[int, Meta(ge=0)] | None
