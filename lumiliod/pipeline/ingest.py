"""Ingest: the one path every original takes, from an upload or from where it lies.

Bytes, then row and follow-up jobs in one transaction, then forget. Killed anywhere, running it
again ends in the same asset: the staged file is only forgotten after the row exists, placing the
same bytes again finds them placed, and the digest decides what an asset is.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from lumiliod.domain.ids import UploadId
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind
from lumiliod.pipeline import kinds
from lumiliod.pipeline.file_ingest import ingest_files
from lumiliod.pipeline.upload_ingest import ingest_upload
from lumiliod.runtime import Runtime, reaching


class Args(msgspec.Struct, kw_only=True):
    """A staged upload."""

    repository: UUID
    upload: UUID
    filename: str | None = None
    may_be_done: str | None = None


BATCH = 8
"""Files that are looked at together: enough to share what that takes of the database, few enough to be done soon."""


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``ingest``."""

    async def run(jobs: Sequence[Running]) -> None:
        if "file" in jobs[0].args:
            await ingest_files(rt, jobs)
        else:
            await _ingest_upload(rt, *jobs)

    return Kind(
        kinds.INGEST.kind,
        kinds.INGEST.queue,
        run,
        batch=BATCH,
        together=lambda args: "file" in args,
        limit_s=86_400,
        missing=kinds.missing_ingest,
    )


async def _ingest_upload(rt: Runtime, running: Running) -> None:
    args = running.decoded(Args)
    opened = rt.repositories.get(args.repository)
    with reaching(rt.repositories, opened):
        await ingest_upload(rt, opened, running, UploadId(args.upload), may_be_done=bool(args.may_be_done))
