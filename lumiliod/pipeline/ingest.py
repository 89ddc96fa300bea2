"""Ingest: the one path every original takes, from an upload or from where it lies.

Bytes, then row and follow-up jobs in one transaction, then forget. Killed anywhere, running it
again ends in the same asset: the staged file is only forgotten after the row exists, placing the
same bytes again finds them placed, and the digest decides what an asset is.
"""

from uuid import UUID

import msgspec

from lumiliod.domain.errors import Permanent
from lumiliod.domain.ids import UploadId
from lumiliod.jobs.engine import Running
from lumiliod.jobs.kind import Kind, each
from lumiliod.pipeline import kinds
from lumiliod.pipeline.file_ingest import ingest_file
from lumiliod.pipeline.upload_ingest import ingest_upload
from lumiliod.runtime import Runtime, reaching


class Args(msgspec.Struct, kw_only=True):
    """A staged upload, or a file where it lies."""

    repository: UUID
    upload: UUID | None = None
    file: UUID | None = None
    filename: str | None = None
    may_be_done: str | None = None


def setup(rt: Runtime) -> Kind:
    """Bind the job kind ``ingest``."""

    async def run(running: Running) -> None:
        args = running.decoded(Args)
        opened = rt.repositories.get(args.repository)
        with reaching(rt.repositories, opened):
            if args.upload is not None:
                await ingest_upload(rt, opened, running, UploadId(args.upload), may_be_done=bool(args.may_be_done))
            elif args.file is not None:
                await ingest_file(rt, opened, running, args.file)
            else:
                raise Permanent("an ingest job names an upload or a file", code="bad_args")

    return Kind(kinds.INGEST.kind, kinds.INGEST.queue, each(run), limit_s=86_400, missing=kinds.missing_ingest)
