"""How a file gets into the trash and out: by a rename that replaces nothing, between file systems by a verified copy.

All calls block. No name is unlinked while its bytes are not safe under another.
"""

import errno
import os

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.domain.naming import candidates
from lumiliod.storage import durable, local
from lumiliod.storage.trash_folder import look
from lumiliod.storage.uncached import uncached_digest

UNSTABLE_AFTER_S = 2.0


def move(
    fd: int, source: tuple[str, int], target: tuple[str, int], digest: Digest, temp: str, aside: str | None = None
) -> None:
    """Rename the open file ``fd`` from one folder to another; where that is another file system, copy it.

    ``temp`` begins the path of the copy while it is written, on the target's file system; for ``aside`` see
    :func:`drop`.
    """
    (name, from_fd), (new_name, to_fd) = source, target
    seen = local.stat_of(os.fstat(fd))
    try:
        durable.rename_new(name, new_name, source_fd=from_fd, target_fd=to_fd)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(fd, new_name, to_fd, digest, temp)
        drop(fd, source, seen, digest, aside)
    else:
        if not _is_same(fd, new_name, to_fd):
            # somebody replaced the file between the look and the rename: back with what is theirs
            durable.rename_new(new_name, name, source_fd=to_fd, target_fd=from_fd)
            raise unstable(name)
    durable.fsync_folder_fd(to_fd)
    durable.fsync_folder_fd(from_fd)


def drop(fd: int, source: tuple[str, int], seen: FileStat, digest: Digest, aside: str | None) -> None:
    """Unlink the name of the open file ``fd``, whose bytes are safe elsewhere, if it is as ``seen`` still.

    Between a look at a name and its unlink a person may save another file under it. So where people save files it is
    renamed to ``aside`` first, a name nobody knows, and looked at there; what is another file gets its name back.

    Raises:
        Unavailable: it is another file by now, or was written to (``unstable``).
    """
    name, folder = source
    if aside is not None:
        durable.rename_new(name, aside, source_fd=folder, target_fd=folder)
    if not _is_same(fd, aside or name, folder) or local.stat_of(os.fstat(fd)) != seen:
        if aside is not None:
            give_back(aside, name, folder, digest)
        raise unstable(name)
    os.unlink(aside or name, dir_fd=folder)


def give_back(aside: str, name: str, folder: int, digest: Digest) -> None:
    """Give a file that was set aside its name again, or where that is taken one beside it; nothing when it is gone."""
    for path in candidates(RepoPath(name), "rename", digest):
        try:
            durable.rename_new(aside, path, source_fd=folder, target_fd=folder)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return
        durable.fsync_folder_fd(folder)
        return


def _copy(fd: int, name: str, folder: int, digest: Digest, temp: str) -> None:
    """Copy an open file to a free name, by way of a file that has the whole of it, read back and durable."""
    temp_fd, path = durable.create_owned(os.path.dirname(temp), temp.rpartition("/")[2] or None, mode=0o644)
    try:
        found, offset = os.fstat(fd), 0
        while block := os.pread(fd, durable.BLOCK_BYTES, offset):
            durable.check_cancelled()
            durable.write_all(temp_fd, block)
            offset += len(block)
        os.utime(temp_fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fsync(temp_fd)
        # what the disk has, not what it was given: the first is unlinked next
        if uncached_digest(temp_fd)[0] != digest:
            raise unstable(name)
        durable.rename_new(path, name, target_fd=folder)
        durable.fsync_folder_fd(folder)
    except BaseException:
        durable.unlink(path)
        raise
    finally:
        os.close(temp_fd)


def _is_same(fd: int, name: str, folder: int) -> bool:
    ours, there = os.fstat(fd), look(name, folder)
    return there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def unstable(name: str) -> Unavailable:
    """Return the error of a file that was replaced in the middle."""
    return Unavailable(f"{shown(name)} was replaced while it was moved", code="unstable", after_s=UNSTABLE_AFTER_S)
