"""Durable file operations: what is written here survives power loss, or was never there.

Sources: rename and link semantics in open(2), rename(2), link(2); the order temp, fsync, rename,
fsync folder as in the LWN article "Ensuring data reaches disk" (2011).
"""

import ctypes
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from lumiliod.domain.errors import LumilioError, NotFound, Permanent, Refused, Shape, Unavailable
from lumiliod.domain.ids import shown

BLOCK_BYTES = 1 << 20
"""Unit of reading and writing; larger gains nothing."""

NO_LINK_ERRNOS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.ENOSYS, errno.EINVAL})
"""What link(2) answers where hard links cannot be made: exFAT, some network file systems, another device."""

WRITEBACK_BYTES = 32 << 20
"""So much of a long file is written before the disk is set to work on it."""

_RENAME_NOREPLACE = 1
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def translated(action: str, path: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what the system answers into our errors, once; ``action`` is a verb phrase for people."""
    try:
        yield
    except OSError as error:
        raise as_ours(error, action, path, writing=writing) from error


def as_ours(error: OSError, action: str, path: str, *, writing: bool = False) -> LumilioError:
    """Return our error for a failed system call.

    A missing file is ``NotFound(file_missing)``, no permission to read ``Permanent(unreadable)``. No
    room, no permission to write, a read-only or failing disk is ``Unavailable`` (``no_space``,
    ``not_writable``, ``io_error``): it says nothing about the file.
    """
    message = f"cannot {action} {shown(path)}: {error.strerror or error}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Unavailable(message, code="no_space", after_s=60)
        case errno.EFBIG:
            return Refused(message, code="too_large")
        case errno.ENOENT | errno.ENOTDIR:
            return NotFound(message, code="file_missing")
        case errno.EACCES | errno.EPERM | errno.ELOOP if not writing:
            return Permanent(message, code="unreadable")
        case errno.ENAMETOOLONG | errno.EILSEQ | errno.EINVAL:
            return Shape(message, code="name_unstorable")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Unavailable(message, code="not_writable", after_s=60)
        case _:
            return Unavailable(message, code="io_error", after_s=10)


def check_cancelled() -> None:
    """Raise trio's Cancelled where the caller of this thread gave up; nothing in a thread of nobody's.

    Whatever reads or writes a file of any size asks once per block: threads cannot be interrupted.
    """
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:
        return


def fsync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_folder_fd(fd)
    finally:
        os.close(fd)


def fsync_folder_fd(fd: int) -> None:
    """Make the names in an open folder durable; file systems that cannot (EINVAL) do so by themselves."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
            raise


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of ``data``; write(2) may take less, most often just before the disk is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def begin_writeback(fd: int, offset: int, size_bytes: int) -> None:
    """Set the disk to work on a range of a file that was just written, without waiting for it.

    Nothing is durable by this; but the fsync(2) that makes it so then has little left to wait for. Where
    sync_file_range(2) does not exist, or the file system has no use for it, nothing happens.
    """
    function = getattr(_libc, "sync_file_range", None)
    if function is not None:
        function(fd, ctypes.c_int64(offset), ctypes.c_int64(size_bytes), _SYNC_FILE_RANGE_WRITE)


def write_file(path: str, data: bytes, *, temp: str | None = None, replace: bool = True, mode: int = 0o644) -> None:
    """Write a small file so that a reader sees all of it or none, durably.

    Args:
        path: where it shall be.
        data: its content.
        temp: name to write it under first, on the same file system; ``path`` + ``.tmp`` by default.
        replace: whether an older file gives way; else FileExistsError.
        mode: permission bits before the umask.
    """
    temp = temp or f"{path}.tmp"
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        if replace:
            os.rename(temp, path)  # noqa: PTH104  byte names
        else:
            rename_new(temp, path)
    except BaseException:
        unlink(temp)
        raise
    fsync_folder(os.path.dirname(path))


def unlink(path: str) -> bool:
    """Remove a file; tell whether it was there."""
    try:
        os.unlink(path)  # noqa: PTH108  byte names
    except FileNotFoundError:
        return False
    return True


def rename_new(source: str, target: str, *, source_fd: int | None = None, target_fd: int | None = None) -> None:
    """Rename a file to a name that must be free, else FileExistsError; relative to folder descriptors if given.

    renameat2(2) with RENAME_NOREPLACE; where the file system or C library lacks it, link and
    unlink; where that lacks too, an empty file claims the name first.
    """
    if _renameat2(source, target, source_fd, target_fd):
        return
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINK_ERRNOS:
            raise
        claim = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target_fd)
        try:
            os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        except OSError:
            # only our own claim: somebody who moves the same file may have renamed it over that meanwhile
            if os.path.samestat(os.fstat(claim), os.stat(target, dir_fd=target_fd, follow_symlinks=False)):
                os.unlink(target, dir_fd=target_fd)
            raise
        finally:
            os.close(claim)
    else:
        os.unlink(source, dir_fd=source_fd)


def _renameat2(source: str, target: str, source_fd: int | None, target_fd: int | None) -> bool:
    """Call renameat2(2) with RENAME_NOREPLACE; return False where it is not supported."""
    function = getattr(_libc, "renameat2", None)
    if function is None:
        return False
    at_cwd = -100
    rc = function(
        at_cwd if source_fd is None else source_fd,
        os.fsencode(source),
        at_cwd if target_fd is None else target_fd,
        os.fsencode(target),
        _RENAME_NOREPLACE,
    )
    if rc == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}:
        return False
    raise OSError(code, os.strerror(code), source, None, target)


def create_owned(
    folder: str, name: str | None = None, mode: int = 0o600, *, folder_fd: int | None = None
) -> tuple[int, str]:
    """Create a file with an flock held, so that a sweeper can tell its writer lives.

    With ``folder_fd``, an open folder, ``folder`` is relative to that: "" is the folder itself.

    Returns the descriptor (closing it releases the lock) and the path. A random name by default.
    """
    while True:
        path = os.path.join(folder, name or f"copy-{secrets.token_hex(8)}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=folder_fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, path
        os.close(fd)  # a sweeper came between creating and locking


@contextmanager
def holding(path: str) -> Iterator[bool]:
    """Hold the flock of the file that has a name, once nobody else does; False where none has it. Blocks.

    Whoever renames a file takes its lock along. Links, pipes and sockets are none. Raises OSError.
    """
    while True:
        fd = _opened_for_lock(path)
        if fd is None:
            yield False
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            # while that was waited for, the name may have become another file's, or nobody's
            if _has_name(fd, path):
                yield True
                return
        finally:
            with suppress(OSError):
                os.close(fd)


def _opened_for_lock(path: str) -> int | None:
    """Open a file or folder to lock it; None of what is gone, and of links and sockets, which we never make."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENXIO}:
            raise
        return None


def _has_name(fd: int, path: str) -> bool:
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


@contextmanager
def owned_by_nobody(path: str) -> Iterator[int | None]:
    """Hold the flock of a file or folder whose owner is gone, as its descriptor; None while the owner lives.

    None, too, for what is gone, and for links and sockets, which we never make.
    """
    fd = _opened_for_lock(path)
    if fd is None:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield fd
    finally:
        with suppress(OSError):
            os.close(fd)
