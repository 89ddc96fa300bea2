"""Uploads that are put together of others, which came at the same time or in any order."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import trio
from blake3 import blake3

from lumiliod.domain.errors import LumilioError, Shape
from lumiliod.domain.ids import Digest, UploadId
from lumiliod.library import upload
from lumiliod.library.resumable import Progress, Uploads
from lumiliod.library.upload_metadata import read_metadata
from lumiliod.runtime import DigestLocks, Opened, Runtime, reaching
from lumiliod.storage.partial_writer import join, joined_from, whole_parts

PARTS_MAX = 1000


class Concatenation:
    """Puts uploads together; who asks twice for the same hears of the same."""

    def __init__(self, rt: Runtime, uploads: Uploads) -> None:
        self._rt = rt
        self._uploads = uploads
        self._joining = DigestLocks()

    async def join(self, parts: Sequence[UploadId], *, metadata: str, concat: str) -> Progress:
        """Put an upload together of ``parts``, which are gone then, and insert its ingest job.

        Args:
            parts: the uploads it consists of.
            metadata: tus's ``Upload-Metadata``.
            concat: how the sender named the parts, to be told again.

        Raises:
            Shape: too many parts (``too_many_parts``), or one of them twice (``part_repeated``).
            NotFound: there is no such part. Conflict: one is not complete (``part_incomplete``).
            LumilioError: as :meth:`Uploads.begin` and :meth:`Uploads.finish`.
        """
        if len(parts) > PARTS_MAX:
            raise Shape(f"an upload is put together of at most {PARTS_MAX} parts", code="too_many_parts")
        if len(set(parts)) < len(parts):
            raise Shape("a part is named twice", code="part_repeated")
        opened = upload.opened(self._rt, read_metadata(metadata).get("repository"))
        names = [str(part) for part in parts]
        async with self._joining.holding(Digest(blake3(" ".join(names).encode()).hexdigest())):
            with reaching(self._rt.repositories, opened):
                known = await trio.to_thread.run_sync(joined_from, opened.repository, names, limiter=self._rt.disk)
                if known is not None and known.terms.digest is not None:
                    return await self._uploads.look(known.id)
                if known is not None:
                    # whoever put it together was killed
                    await self._abandon(known.id)
                return await self._join(opened, parts, metadata, concat)

    async def _join(self, opened: Opened, parts: Sequence[UploadId], metadata: str, concat: str) -> Progress:
        found = await trio.to_thread.run_sync(whole_parts, opened.repository, parts, limiter=self._rt.disk)
        size_bytes = sum(part.offset for part in found)
        begun = await self._uploads.begin(size_bytes=size_bytes, metadata=metadata, parts=parts, concat=concat)
        min_free_bytes = self._rt.config.storage.min_free_mb * upload.MIB
        max_bytes = upload.limit(self._rt, opened)
        fill = partial(join, opened.repository, begun.id, parts, max_bytes=max_bytes, min_free_bytes=min_free_bytes)
        try:
            joined, hasher = await trio.to_thread.run_sync(fill, limiter=self._rt.disk)
            if hasher is not None:
                self._uploads.remember(begun.id, joined.offset, hasher)
            done = await self._uploads.finish(begun.id)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._abandon(begun.id)
            raise
        for part in parts:
            await self._abandon(part)
        return done

    async def _abandon(self, id_: UploadId) -> None:
        with suppress(LumilioError):
            await self._uploads.abandon(id_)
