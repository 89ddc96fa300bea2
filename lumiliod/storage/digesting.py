"""Reading plain files where they lie, for their digests. All calls block; callers thread them."""

import os
from collections import deque
from collections.abc import Generator, Sequence
from typing import NamedTuple

from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import LumilioError, Unavailable
from lumiliod.domain.ids import Digest, shown
from lumiliod.storage import blocks, durable, local
from lumiliod.storage.hashers import Hasher
from lumiliod.storage.settled import is_being_written
from lumiliod.storage.uncached import uncached_digest

AHEAD = 2
"""So many files are open at once for a hasher, which finds the next one when it is done with one."""


def digest_file(
    path: str, *, root: str | None = None, uncached: bool = False, settled: bool = False
) -> tuple[Digest, FileStat]:
    """Return the digest of a plain file and its stat, both of the same state of it.

    With ``root``, an ancestor folder of ``path``, no symbolic link below it is followed; without,
    none at the last part. Reads with a 1 MiB buffer: a memory map of a file that shrinks would
    kill the process (SIGBUS). ``uncached`` reads it from the disk itself, as whoever lets other bytes go for it
    must. With ``settled`` a file that somebody is writing counts as unstable even while it rests. In a thread of
    trio it ends within a block when its caller is cancelled.

    Raises:
        Unavailable: it changed while it was read (``unstable``), or the disk failed (``io_error``).
        Permanent: no permission, a symbolic link, or no plain file (``unreadable``).
        NotFound: it is not there (``file_missing``).
    """
    return _read(_begun(path, root, settled=settled), uncached=uncached)


def digest_files(
    paths: Sequence[str], *, root: str, hasher: Hasher | None = None
) -> Generator[tuple[Digest, FileStat] | LumilioError, None, None]:
    """Give for each of ``paths`` what :func:`digest_file` returns or raises, files that are written being unstable.

    Args:
        paths: absolute.
        root: an ancestor folder of all.
        hasher: is asked for digests, if any: while it is quick for the next one, too, before an answer is waited for.
    """
    waiting, begun = deque(paths), deque[_Begun | LumilioError]()
    try:
        while waiting or begun:
            while waiting and len(begun) < (AHEAD if hasher is not None and hasher.is_quick else 1):
                begun.append(_begun_for(waiting.popleft(), root, hasher))
            yield _read_from(begun.popleft(), hasher)
    finally:
        for one in begun:
            if isinstance(one, _Begun):
                os.close(one.fd)


class _Begun(NamedTuple):
    """A file that is open to be read; ``is_asked`` of a hasher."""

    path: str
    fd: int
    before: os.stat_result
    is_asked: bool = False


# context managers and needless calls would cost a tenth here: threads that want the interpreter wait for each other


def _begun(path: str, root: str | None, *, settled: bool) -> _Begun:
    try:
        fd, before = local.opened_plain(path) if root is None else local.opened_below(root, _below(root, path))
        try:
            if settled and is_being_written(fd):
                raise Unavailable(f"{shown(path)} is being written", code="unstable", after_s=local.UNSTABLE_AFTER_S)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise durable.as_ours(error, "read", path) from error
    return _Begun(path, fd, before)


def _begun_for(path: str, root: str, hasher: Hasher | None) -> _Begun | LumilioError:
    try:
        begun = _begun(path, root, settled=True)
    except LumilioError as error:
        return error
    if hasher is not None and hasher.ask(begun.fd, begun.before.st_size):
        return begun._replace(is_asked=True)
    return begun


def _read_from(begun: _Begun | LumilioError, hasher: Hasher | None) -> tuple[Digest, FileStat] | LumilioError:
    if isinstance(begun, LumilioError):
        return begun
    try:
        return _read(begun, hasher=hasher)
    except LumilioError as error:
        return error


def _read(begun: _Begun, *, uncached: bool = False, hasher: Hasher | None = None) -> tuple[Digest, FileStat]:
    """Read what is open, and close it."""
    path, fd, before, is_asked = begun
    try:
        try:
            if uncached:
                os.fdatasync(fd)
                before = os.fstat(fd)
                digest, total = uncached_digest(fd)
            elif is_asked and hasher is not None and (answer := hasher.answer()) is not None:
                digest, total = answer, before.st_size
            else:
                digest, total = _digest(fd, before.st_size)
            # it is open still, so what has this inode is the same file, and this is how it is after reading
            now = _stat_now(path)
        finally:
            os.close(fd)
    except OSError as error:
        raise durable.as_ours(error, "read", path) from error
    # who writes may put the mtime back, but not the ctime; after a new name or new permissions it is read again
    if now is None or _state(now) != _state(before) or total != before.st_size:
        raise Unavailable(f"{shown(path)} changed while it was read", code="unstable", after_s=local.UNSTABLE_AFTER_S)
    return digest, local.stat_of(before)


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _below(root: str, path: str) -> str:
    """Return a path relative to a folder it lies below."""
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else os.path.relpath(path, root)


def _digest(fd: int, size_bytes: int) -> tuple[Digest, int]:
    """Return the digest of an open file of so many bytes, and how many there were."""
    hasher, total = blake3(), 0
    with blocks.lent() as block:
        into = [block]
        while count := os.readv(fd, into):
            durable.check_cancelled()
            hasher.update(block if count == durable.BLOCK_BYTES else block[:count])
            total += count
            if total == size_bytes:
                break
    return Digest(hasher.hexdigest()), total


def _stat_now(path: str) -> os.stat_result | None:
    """Return the state of what ``path`` names now; None when it is gone."""
    try:
        return os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except FileNotFoundError:
        return None
