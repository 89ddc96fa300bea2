"""Copies of files that no rename can move. All calls block.

A film takes minutes to copy, and nobody shall wait for that with rows locked: so the copy is made first, read back and
durable, and only gets its name when the move is written.
"""

import os
from contextlib import ExitStack, suppress

from lumiliod.domain.assets import FileStat
from lumiliod.domain.ids import Digest
from lumiliod.storage import durable, local
from lumiliod.storage.uncached import uncached_digest


class Copy:
    """A durable copy that has no name of its own yet; an flock tells whoever sweeps our folders that it is wanted."""

    def __init__(self, folder: int, name: str, fd: int) -> None:
        self._folder = folder
        self._name = name
        self._fd = fd

    def place(self, name: str, folder: int) -> None:
        """Give it a name that has to be free, durably.

        Raises:
            FileExistsError: it is not. OSError: ``EXDEV`` where that folder is on another file system.
        """
        durable.rename_new(self._name, name, source_fd=self._folder, target_fd=folder)
        durable.fsync_folder_fd(folder)

    def forget(self) -> None:
        """Let go of it, and remove it where it was not placed."""
        try:
            with suppress(OSError):  # a disk that fails: what is left is removed when it is done again
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            os.close(self._fd)
            os.close(self._folder)


def make(source: tuple[str, int], stat: FileStat, digest: Digest, folder: int) -> Copy | None:
    """Copy a file into an open folder; None when it is not as ``stat`` says, or does not have the bytes.

    The copy's name is always the same, so that doing it again removes what a crash left.

    Raises:
        OSError: the disk does not take it, or give it back.
    """
    name = f".lumilio-{digest}.part"
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    with ExitStack() as made:
        own = os.dup(folder)
        made.callback(os.close, own)
        fd, _ = durable.create_owned("", name, 0o644, folder_fd=own)
        made.callback(os.close, fd)
        made.callback(_unlink, name, own)
        if not _is_copied(source, stat, digest, fd):
            return None
        made.pop_all()
        return Copy(own, name, fd)


def _is_copied(source: tuple[str, int], stat: FileStat, digest: Digest, copy: int) -> bool:
    fd = local.open_plain(*source)
    try:
        if local.stat_of(os.fstat(fd)) != stat:
            return False
        offset = 0
        while block := os.pread(fd, durable.BLOCK_BYTES, offset):
            durable.check_cancelled()
            durable.write_all(copy, block)
            offset += len(block)
    finally:
        os.close(fd)
    os.utime(copy, ns=(stat.mtime_ns, stat.mtime_ns))
    os.fsync(copy)
    return uncached_digest(copy)[0] == digest


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
