"""Checking: do a file, or a copy of one, still hold the bytes they should? All calls block; callers thread them."""

import errno
import os
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO

from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Unavailable
from lumiliod.domain.ids import Digest, RepoPath
from lumiliod.storage import durable, local
from lumiliod.storage.backend import Backend
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.throttle import Throttle, idle_io
from lumiliod.storage.uncached import uncached_digest

DISK_ERRNOS = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA})
"""What a disk or file system answers that cannot give the bytes back: a bad sector, a wrong checksum."""

_MTIME_MAX_NS = (1 << 63) - 1


class Verdict(StrEnum):
    """How a file is; all but ``good`` and ``unstable`` become findings."""

    GOOD = "good"
    MISSING = "missing"
    CHANGED = "changed"
    """Other bytes, and size, time or inode say that somebody wrote them."""
    BIT_ROT = "bit_rot"
    """Other bytes, though nobody wrote any: twice the same wrong ones."""
    UNREADABLE = "unreadable"
    UNSTABLE = "unstable"
    """It changed while it was read: nothing is concluded."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A verdict; ``code`` and ``detail`` say more of a bad one, ``found`` is the state of what was there."""

    verdict: Verdict
    code: str = ""
    detail: str = ""
    found: FileStat | None = None
    read_bytes: int = 0
    read_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Reading:
    digest: Digest
    stat: FileStat
    changed_ns: int
    is_stable: bool


class _Meter:
    """Counts what was read, also by readings that failed, and waits as the throttle wants."""

    def __init__(self, throttle: Throttle) -> None:
        self.read_bytes = 0
        self._throttle = throttle
        self._began_s = time.monotonic()

    def count(self, read_bytes: int) -> None:
        self.read_bytes += read_bytes
        self._throttle.take(read_bytes)

    def measured(self, checked: Checked) -> Checked:
        return replace(checked, read_bytes=self.read_bytes, read_s=time.monotonic() - self._began_s)


def check(repo: Repository, path: RepoPath, digest: Digest, stat: FileStat, throttle: Throttle) -> Checked:
    """Read a file from the disk itself and compare it with its record: ``digest`` and ``stat``.

    Reads with the idle I/O priority and leaves nothing in the page cache. What differs is read once
    more before it is called rot. In a thread of trio it ends within a block when its caller is cancelled.

    Raises:
        Unavailable: the repository is away (``repository_offline``), or something that says nothing of this file.
    """
    check_identity(repo)
    meter = _Meter(throttle)
    with idle_io():
        verdict = _judged(repo, path, digest, stat, meter)
    if verdict.verdict is not Verdict.GOOD:
        # a root that went away in the middle says nothing of the file
        check_identity(repo)
    return meter.measured(verdict)


def check_copy(backend: Backend, path: RepoPath, digest: Digest, size_bytes: int, throttle: Throttle) -> Checked:
    """Read a copy in a mirror and compare it with what it should be.

    Whoever gets another verdict than ``good`` has to make sure that the mirror is there. Raises as :func:`check`.
    """
    meter = _Meter(throttle)
    with idle_io():
        try:
            found = _digest_copy(backend, path, meter)
            if found != digest:
                size = backend.stat(path).size_bytes
                what = "other bytes" if size == size_bytes else f"{size} bytes instead of {size_bytes}"
                return meter.measured(Checked(Verdict.BIT_ROT, "bit_rot", f"the copy has {what}"))
        except LumilioError as error:
            return meter.measured(_refused(error, None))
    return meter.measured(Checked(Verdict.GOOD))


def recorded(stat: FileStat) -> FileStat:
    """Return ``stat`` as a record holds it: years beyond 2262 do not fit."""
    return replace(stat, mtime_ns=max(min(stat.mtime_ns, _MTIME_MAX_NS), -_MTIME_MAX_NS - 1))


def _judged(repo: Repository, path: RepoPath, digest: Digest, stat: FileStat, meter: _Meter) -> Checked:
    try:
        first = _read(repo, path, meter)
        if first.digest == digest:
            return Checked(Verdict.GOOD, found=first.stat)
        if not first.is_stable:
            return _unstable(first)
        if recorded(first.stat) != recorded(stat):
            return Checked(Verdict.CHANGED, "changed", _difference(stat, first.stat), first.stat)
        second = _read(repo, path, meter, settled=True)
        if second.digest == digest:
            return Checked(Verdict.GOOD, "read_twice", "the first reading gave other bytes", second.stat)
        if not second.is_stable or (second.digest, second.changed_ns) != (first.digest, first.changed_ns):
            return _unstable(second)
        return Checked(Verdict.BIT_ROT, "bit_rot", "other bytes under the same size, time and inode", second.stat)
    except LumilioError as error:
        return _refused(error, _stat_now(repo, path))


def _unstable(reading: _Reading) -> Checked:
    return Checked(Verdict.UNSTABLE, "unstable", "it changes while it is read", reading.stat)


def _difference(was: FileStat, is_: FileStat) -> str:
    if was.size_bytes != is_.size_bytes:
        return f"somebody wrote it: {is_.size_bytes} bytes instead of {was.size_bytes}"
    return "somebody wrote it: " + ("another time" if was.mtime_ns != is_.mtime_ns else "another file in its place")


def _refused(error: LumilioError, found: FileStat | None) -> Checked:
    """Return what an error of reading says of the file.

    Raises:
        LumilioError: the same, when it says nothing of it.
    """
    if isinstance(error, NotFound):
        return Checked(Verdict.MISSING, "missing", "no file is there")
    if isinstance(error, Permanent):
        cause = error.__cause__
        denied = isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM}
        return Checked(Verdict.UNREADABLE, "not_permitted" if denied else "not_a_file", error.message, found)
    cause = error.__cause__
    if isinstance(error, Unavailable) and isinstance(cause, OSError) and cause.errno in DISK_ERRNOS:
        return Checked(Verdict.UNREADABLE, "io_error", error.message, found)
    raise error


def _read(repo: Repository, path: RepoPath, meter: _Meter, *, settled: bool = False) -> _Reading:
    """Read a file once; ``settled``: what is still on its way to the disk is written first."""
    with durable.translated("read", path):
        fd = local.open_below(repo.root, path)
        try:
            if settled:
                os.fdatasync(fd)
            before = os.fstat(fd)
            digest = uncached_digest(fd, meter.count)[0]
            after = os.fstat(fd)
        finally:
            os.close(fd)
    is_stable = (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    return _Reading(digest, local.stat_of(after), after.st_ctime_ns, is_stable)


def _digest_copy(backend: Backend, path: RepoPath, meter: _Meter) -> Digest:
    with durable.translated("read", path), backend.open(path) as file:
        if backend.local:
            return uncached_digest(file.fileno(), meter.count)[0]
        return _digest_stream(file, meter)


def _digest_stream(file: BinaryIO, meter: _Meter) -> Digest:
    hasher = blake3()
    while True:
        durable.check_cancelled()
        block = file.read(durable.BLOCK_BYTES)
        if not block:
            return Digest(hasher.hexdigest())
        hasher.update(block)
        meter.count(len(block))


def _stat_now(repo: Repository, path: RepoPath) -> FileStat | None:
    """Return the state of what lies at ``path``, without opening it; None when it cannot be told."""
    *folders, name = path.split("/")
    try:
        with local.folder_below(repo.root, folders) as folder:
            return local.stat_of(os.stat(name, dir_fd=folder, follow_symlinks=False))
    except (OSError, LumilioError):
        return None
