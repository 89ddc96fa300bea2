"""Uploads that survive: sent in one request, and gone on with when that is cut (tus 1.0)."""

import base64
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar
from uuid import UUID

import msgspec

from lumiliod.client.connection import UNLIMITED, ApiError, Connection, Headers, Unreachable, segment
from lumiliod.contract.problems import Problem
from lumiliod.contract.uploads import DigestsKnown, DigestsWanted, Quota, QuotaChange, UploadList

CHUNK_BYTES = 1 << 20

PATIENCE_S = 120.0
"""How long nothing may get through before an upload is given up."""

PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 5.0

Progress = Callable[[int], None]
"""Called with the bytes sent since the last call; negative when some have to be sent again."""

T = TypeVar("T")

_BYTES = {"Content-Type": "application/offset+octet-stream"}
_TUS = {"Tus-Resumable": "1.0.0"}
_TEMPORARY = frozenset({409, 423, 503})


class Memory(Protocol):
    """Remembers where the upload of a file was begun, for whoever sends it again after being interrupted."""

    def recall(self) -> str | None:
        """Return the upload that was begun, None for none."""
        ...

    def keep(self, upload_id: str) -> None:
        """Remember an upload that has begun."""
        ...

    def forget(self) -> None:
        """Remember nothing any more: all of it was sent."""
        ...


class Uploads:
    """What has to do with uploading, over one connection.

    Every method raises :class:`~lumiliod.client.ApiError` or :class:`~lumiliod.client.Unreachable`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def known(self, digests: Sequence[str]) -> DigestsKnown:
        """Tell which of these BLAKE3-256 digests (hex) the library has."""
        content = msgspec.json.encode(DigestsWanted(digests=list(digests)))
        return self._connection.call("POST", "/assets/check", DigestsKnown, content=content)

    def quota(self, user: str) -> Quota:
        """Return how much a person may keep, and keeps."""
        return self._connection.get(f"/users/{segment(user)}/quota", Quota)

    def set_quota(self, user: str, limit_bytes: int | None) -> Quota:
        """Say how much a person may keep, None for as much as there is room for."""
        content = msgspec.json.encode(QuotaChange(limit_bytes=limit_bytes))
        return self._connection.call("PUT", f"/users/{segment(user)}/quota", Quota, content=content)

    def under_way(self) -> UploadList:
        """Return the resumable uploads that are not complete, and those that were refused."""
        return self._connection.get("/uploads", UploadList)

    def remove(self, upload_id: str) -> None:
        """Give a resumable upload up, or remove a refused one; its bytes are forgotten."""
        self._connection.headers("DELETE", f"/uploads/{segment(upload_id)}", params={"refused": "true"}, headers=_TUS)

    def send(
        self,
        path: str,
        *,
        repository: str | None = None,
        progress: Progress = lambda _sent: None,
        patience_s: float = PATIENCE_S,
        memory: Memory | None = None,
    ) -> UUID | None:
        """Send the file at ``path``, going on where it was cut; return the task that makes it an asset.

        What ``memory`` recalls is gone on with, where the daemon still has it.

        A daemon that stops or is killed meanwhile is waited for, as long as something gets through now and then.

        Raises:
            OSError: the file cannot be read, or changed its size.
        """
        with Path(path).open("rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            told = {"filename": os.fsencode(Path(path).name)}
            if repository is not None:
                told["repository"] = repository.encode()
            place, answer = self._resumed(memory, size_bytes, patience_s)
            if place is None:
                place = self._patiently(lambda: self._begin(size_bytes, told), patience_s)
                if memory is not None:
                    memory.keep(place)
            offset = reached = told_bytes = 0

            def count(sent_bytes: int) -> None:
                nonlocal told_bytes
                told_bytes += sent_bytes
                progress(sent_bytes)

            given_up_at = time.monotonic() + patience_s
            pause_s = PAUSE_FIRST_S
            while True:
                try:
                    if answer is None:
                        answer = self._append(place, file, path, offset, size_bytes, count)
                except (Unreachable, ApiError) as error:
                    if _is_final(error) or time.monotonic() > given_up_at:
                        raise
                    time.sleep(pause_s)
                    pause_s = min(pause_s * 2, PAUSE_MAX_S)
                    answer = self._patiently(partial(self._look, place), patience_s)
                offset, task, answer = int(answer["Upload-Offset"]), answer.get("Lumilio-Task"), None
                count(offset - told_bytes)
                if offset > reached:
                    reached, given_up_at, pause_s = offset, time.monotonic() + patience_s, PAUSE_FIRST_S
                if offset == size_bytes:
                    if memory is not None:
                        memory.forget()
                    return None if task is None else UUID(task.rpartition("/")[2])

    def _resumed(
        self, memory: Memory | None, size_bytes: int, patience_s: float
    ) -> tuple[str, Headers] | tuple[None, None]:
        """Return the upload that was begun and how far it is, where it is still there and of this size."""
        place = None if memory is None else memory.recall()
        if place is None:
            return None, None
        try:
            found = self._patiently(lambda: self._look(segment(place)), patience_s)
        except ApiError as error:
            if error.problem.status == 404:
                return None, None
            raise
        return (place, found) if found.get("Upload-Length") == str(size_bytes) else (None, None)

    def _begin(self, size_bytes: int, told: dict[str, bytes]) -> str:
        metadata = ",".join(f"{name} {base64.b64encode(value).decode()}" for name, value in told.items())
        headers = {**_TUS, "Upload-Length": str(size_bytes), "Upload-Metadata": metadata}
        return self._connection.headers("POST", "/uploads", headers=headers)["Location"].rpartition("/")[2]

    def _look(self, place: str) -> Headers:
        return self._connection.headers("HEAD", f"/uploads/{place}", headers=_TUS)

    def _append(
        self, place: str, file: BinaryIO, path: str, offset: int, size_bytes: int, progress: Progress
    ) -> Headers:
        file.seek(offset)
        headers = {
            **_TUS,
            **_BYTES,
            "Upload-Offset": str(offset),
            "Content-Length": str(size_bytes - offset),
        }
        content = _chunks(file, path, size_bytes - offset, progress)
        return self._connection.headers(
            "PATCH", f"/uploads/{place}", headers=headers, content=content, timeout=UNLIMITED
        )

    def _patiently(self, ask: Callable[[], T], patience_s: float) -> T:
        given_up_at, pause_s = time.monotonic() + patience_s, PAUSE_FIRST_S
        while True:
            try:
                return ask()
            except (Unreachable, ApiError) as error:
                if _is_final(error) or time.monotonic() > given_up_at:
                    raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)


def _is_final(error: Unreachable | ApiError) -> bool:
    problem: Problem = error.problem
    return problem.code == "socket_forbidden" or (isinstance(error, ApiError) and problem.status not in _TEMPORARY)


def _chunks(file: BinaryIO, path: str, left: int, progress: Progress) -> Iterator[bytes]:
    while left:
        try:
            chunk = file.read(min(CHUNK_BYTES, left))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from error
        if not chunk:
            raise OSError(errno.EIO, "The file became shorter while it was read", path)
        left -= len(chunk)
        yield chunk
        progress(len(chunk))
