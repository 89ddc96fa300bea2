"""Uploads in several requests: begin, go on, finish, whoever was killed in between."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import outcome
import trio
from blake3 import blake3

from lumiliod.domain.errors import Conflict, Forbidden, LumilioError, NotFound, Refused, Shape, Unavailable
from lumiliod.domain.ids import Digest, JobId, UploadId, is_digest
from lumiliod.domain.text import size_text
from lumiliod.library import quota, upload
from lumiliod.library.turns import Arriving, Turn
from lumiliod.library.upload_metadata import read_metadata
from lumiliod.runtime import Opened, Runtime, reaching
from lumiliod.storage import partial as partials
from lumiliod.storage import partial_sweep, staging
from lumiliod.storage.partial import Partial
from lumiliod.storage.partial_writer import CHECKSUMS, PartialWriter
from lumiliod.storage.pump import Source, in_thread, pump
from lumiliod.storage.staging import Staged

log = logging.getLogger(__name__)

CHECKSUM_NAMES = tuple(CHECKSUMS)
"""Algorithms by which a request's bytes may be proven, by their names in tus."""

HASHERS_MAX = 256
"""Uploads whose hash is remembered between requests; of others the bytes are read once more at the end."""

YIELD_TIMEOUT_S = 10.0
"""How long a request waits for the one before it, which no longer gets anything, to let go."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is; ``job_id`` once all bytes are here."""

    id: UploadId
    offset: int
    size_bytes: int | None
    metadata: str
    expires_at: datetime
    is_part: bool = False
    concat: str | None = None
    job_id: JobId | None = None


class Uploads:
    """The uploads of this process: who writes which, and the hash of what has arrived."""

    def __init__(self, rt: Runtime) -> None:
        self._rt = rt
        self._turns: dict[UploadId, Turn] = {}
        self._hashers: dict[UploadId, tuple[int, blake3]] = {}

    @property
    def max_bytes(self) -> int | None:
        """The largest upload taken anywhere, None without a limit."""
        return self._rt.config.storage.max_upload_mb * upload.MIB or None

    async def begin(
        self,
        *,
        size_bytes: int | None,
        metadata: str,
        is_part: bool = False,
        parts: Sequence[UploadId] | None = None,
        concat: str | None = None,
    ) -> Progress:
        """Begin an upload.

        Args:
            size_bytes: how large it will be; None when that is told later.
            metadata: tus's ``Upload-Metadata``; ``filename``, ``repository`` and ``digest`` mean something here.
            is_part: whether it is only a part of another.
            parts: the uploads it will consist of.
            concat: how the sender named them, to be told again.

        Raises:
            Shape: metadata that are none, no name, nothing in it. Refused: too large, or over the quota.
            NotFound: no such repository. Unavailable: no room, or offline.
        """
        said = read_metadata(metadata)
        opened = upload.opened(self._rt, said.get("repository"))
        digest = said.get("digest", "").lower()
        if digest and not is_digest(digest):
            raise Shape("a digest is 64 hex digits of BLAKE3-256", code="bad_digest")
        promised = Digest(digest) if digest else None
        name = said.get("filename") or said.get("name")
        if not name and not is_part:
            raise Shape("the metadata name no `filename`", code="no_filename")
        if size_bytes == 0 and not is_part:
            raise Shape("the file is empty", code="empty_file")
        self._check_size(opened, size_bytes)
        await quota.check(self._rt, self._rt.owner_id, size_bytes or 0, promised)
        create = partial(
            partials.create,
            opened.repository,
            upload.checked_name(name or "part"),
            size_bytes=size_bytes,
            metadata=metadata,
            owner_id=self._rt.owner_id,
            promised=promised,
            is_part=is_part,
            parts=None if parts is None else [str(part) for part in parts],
            concat=concat,
            min_free_bytes=self._min_free_bytes,
        )
        with reaching(self._rt.repositories, opened):
            return _progress(await trio.to_thread.run_sync(create, limiter=self._rt.disk))

    async def look(self, id_: UploadId) -> Progress:
        """Return how far an upload is; a request that writes it gives way first.

        One that is whole is staged first, where whoever brought the last bytes was killed, or the disk failed.

        Raises:
            NotFound: there is none (``upload_not_found``). LumilioError: as :meth:`finish`.
        """
        await self._interrupt(id_)
        opened, found = await self._find(id_)
        if found.is_unfinished:
            # who hears that nothing is missing forgets the bytes
            return await self.finish(id_)
        job_id = None
        if found.terms.digest is not None:
            job_id = await upload.job_of(self._rt, id_, found.terms.owner_id)
            if job_id is None:
                # its job was never written: the daemon was killed just then
                job_id = await self._adopt(opened, found)
        return _progress(found, job_id)

    async def append(
        self,
        id_: UploadId,
        body: Source | None,
        offset: int,
        *,
        size_bytes: int | None = None,
        checksum: tuple[str, bytes] | None = None,
    ) -> Progress:
        """Take more bytes of an upload; what has arrived counts, however the request ends.

        When the last byte is here the upload is staged, and its ingest job inserted, before this returns.

        Args:
            id_: which upload.
            body: the bytes, None for none.
            offset: where they belong.
            size_bytes: the whole size, when it is told only now.
            checksum: algorithm and value for these bytes; without that value none of them counts.

        Raises:
            NotFound: there is no such upload. Conflict: ``wrong_offset``, ``upload_locked``.
            Forbidden: it is put together of parts (``final_upload``).
            Refused: too large, or over the quota.
            Shape: not what was promised (``checksum_mismatch``, ``digest_mismatch`` …),
                or the client went away (``truncated_upload``). Unavailable: no room, or offline.
        """
        opened, begun = await self._find(id_)
        if begun.terms.parts is not None:
            raise Forbidden("an upload that is put together of parts takes no bytes", code="final_upload")
        self._check_size(opened, size_bytes)
        quota_bytes = None
        if begun.terms.size_bytes is None:
            wanted_bytes = begun.offset if size_bytes is None else size_bytes
            quota_bytes = await quota.check(self._rt, self._rt.owner_id, wanted_bytes, begun.terms.promised)
        return await self._take(opened, id_, body, offset, size_bytes, checksum, quota_bytes)

    async def finish(self, id_: UploadId) -> Progress:
        """Stage an upload that is whole, and insert its ingest job.

        Raises:
            NotFound, Conflict, Refused, Shape, Unavailable: as :meth:`append`.
        """
        opened, found = await self._find(id_)
        return await self._take(opened, id_, None, found.offset)

    async def _take(
        self,
        opened: Opened,
        id_: UploadId,
        body: Source | None,
        offset: int,
        size_bytes: int | None = None,
        checksum: tuple[str, bytes] | None = None,
        quota_bytes: int | None = None,
    ) -> Progress:
        turn = Turn()
        await self._interrupt(id_)
        self._turns[id_] = turn
        try:
            with reaching(self._rt.repositories, opened):
                writer = self._writer(opened, id_, offset, checksum, quota_bytes)
                found, staged = await self._append(opened, writer, body, offset, size_bytes, turn)
        finally:
            turn.over.set()
            if self._turns.get(id_) is turn:
                del self._turns[id_]
        if staged is None:
            return _progress(found)
        try:
            # should the library not remember it now: the sender asks again, or the next start does it
            job_id = await upload.enqueue(self._rt, opened, staged)
        except Refused:
            # another upload took the room in this very moment
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_forget_staged, opened, id_, limiter=self._rt.disk)
            raise
        return _progress(found, job_id)

    def _writer(
        self,
        opened: Opened,
        id_: UploadId,
        offset: int,
        checksum: tuple[str, bytes] | None,
        quota_bytes: int | None,
    ) -> PartialWriter:
        known_at, hasher = self._hashers.get(id_, (-1, None))
        return PartialWriter(
            opened.repository,
            id_,
            hasher=hasher if known_at == offset else None,
            checksum=checksum,
            max_bytes=self._limit(opened),
            quota_bytes=quota_bytes,
            min_free_bytes=self._min_free_bytes,
        )

    async def _append(
        self,
        opened: Opened,
        writer: PartialWriter,
        body: Source | None,
        offset: int,
        size_bytes: int | None,
        turn: Turn,
    ) -> tuple[Partial, Staged | None]:
        id_ = writer.id
        with writer:
            await in_thread(writer.begin, offset, size_bytes)
            self._hashers.pop(id_, None)
            arriving = None if body is None else Arriving(body, turn)
            try:
                if arriving is not None:
                    await pump(writer, arriving, offset=offset)
                if arriving is None or arriving.cut is None:
                    await in_thread(writer.prove)
            finally:
                # what has arrived counts, however this request ends, unless a checksum would have to say so
                with trio.CancelScope(shield=True):
                    await in_thread(writer.settle)
                if writer.hasher is not None and writer.terms.unproven_from is None:
                    self.remember(id_, writer.offset, writer.hasher)
            if arriving is not None and arriving.cut is not None:
                raise arriving.cut
            found = Partial(id_, writer.terms, writer.offset)
            if not found.is_unfinished:
                return found, None
            self._hashers.pop(id_, None)
            completed = await outcome.acapture(self._complete, writer)
            if isinstance(completed, outcome.Error) and isinstance(completed.error, Shape):
                # these bytes will never be what was promised, and their sender hears it
                writer.close()
                await trio.to_thread.run_sync(_remove_quietly, opened, id_, limiter=self._rt.disk)
            staged = completed.unwrap()
            return Partial(id_, writer.terms, writer.offset), staged

    async def _complete(self, writer: PartialWriter) -> Staged:
        # what others sent meanwhile counts, too; a library that is away says nothing of it
        with suppress(Unavailable):
            await quota.check(self._rt, self._rt.owner_id, writer.offset, writer.terms.promised)
        return await in_thread(writer.complete)

    async def remove(self, id_: UploadId) -> None:
        """Give an upload up and forget its bytes.

        Raises:
            NotFound: there is none. Conflict: it is being written (``upload_locked``), or all bytes are here and become
                an original (``upload_complete``).
        """
        await self._interrupt(id_)
        opened, _ = await self._find(id_)
        forget = partial(partials.remove, opened.repository, id_, if_complete=False)
        with reaching(self._rt.repositories, opened):
            await trio.to_thread.run_sync(forget, limiter=self._rt.disk)
        self._hashers.pop(id_, None)

    async def abandon(self, id_: UploadId) -> None:
        """Forget an upload of which nobody was told, unless all of it is here; what hinders that is for the sweeper."""
        opened, _ = await self._find(id_)
        await trio.to_thread.run_sync(_remove_quietly, opened, id_, limiter=self._rt.disk)

    async def _adopt(self, opened: Opened, found: Partial) -> JobId | None:
        def load() -> Staged | None:
            partial_sweep.recover(opened.repository, [found.id])
            return staging.load(opened.repository, found.id)

        with reaching(self._rt.repositories, opened):
            staged = await trio.to_thread.run_sync(load, limiter=self._rt.disk)
        return None if staged is None else await upload.adopt(self._rt, opened, staged)

    async def _interrupt(self, id_: UploadId) -> None:
        """Let the request that writes an upload end: its client has gone, or it would not ask again."""
        with trio.move_on_after(YIELD_TIMEOUT_S):
            while (turn := self._turns.get(id_)) is not None:
                turn.interrupt()
                await turn.over.wait()
            return
        raise Conflict("another request writes this upload", code="upload_locked")

    async def _find(self, id_: UploadId) -> tuple[Opened, Partial]:
        for opened in self._rt.repositories.online():
            found = await trio.to_thread.run_sync(partials.find, opened.repository, id_, limiter=self._rt.disk)
            if found is not None:
                return opened, found
        if self._rt.repositories.offline():
            raise Unavailable("the upload may lie in a repository that is offline", code="repository_offline")
        raise NotFound(f"there is no upload {id_}", code="upload_not_found")

    @property
    def _min_free_bytes(self) -> int:
        return self._rt.config.storage.min_free_mb * upload.MIB

    def _limit(self, opened: Opened) -> int | None:
        return upload.limit(self._rt, opened)

    def _check_size(self, opened: Opened, size_bytes: int | None) -> None:
        limit = self._limit(opened)
        if limit is not None and size_bytes is not None and size_bytes > limit:
            message = f"the file is larger than the {size_text(limit)} that are taken here"
            raise Refused(message, code="too_large", size_bytes=size_bytes)

    def remember(self, id_: UploadId, offset: int, hasher: blake3) -> None:
        """Remember the hash of what is there of an upload."""
        self._hashers[id_] = (offset, hasher)
        while len(self._hashers) > HASHERS_MAX:
            del self._hashers[next(iter(self._hashers))]


def _forget_staged(opened: Opened, id_: UploadId) -> None:
    staging.forget(opened.repository, id_)
    partials.remove(opened.repository, id_)


def _remove_quietly(opened: Opened, id_: UploadId) -> None:
    try:
        partials.remove(opened.repository, id_, if_complete=False)
    except LumilioError as error:
        log.info("an upload is left to the sweeper", extra={"upload": str(id_), "code": error.code})


def _progress(found: Partial, job_id: JobId | None = None) -> Progress:
    terms = found.terms
    return Progress(
        id=found.id,
        offset=found.offset,
        size_bytes=terms.size_bytes,
        metadata=terms.metadata,
        expires_at=terms.expires_at,
        is_part=terms.is_part,
        concat=terms.concat,
        job_id=job_id,
    )
