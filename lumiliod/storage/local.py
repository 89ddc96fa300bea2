"""Backend ``local``: a folder of this host. Never replaces a file, never follows a symbolic link below the root."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO, TypeVar

from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import RepoPath, path_bytes, shown
from lumiliod.storage import durable
from lumiliod.storage.backend import OWN, Entry, parts_of
from lumiliod.storage.uncached import uncached_digest

_Folder = list[tuple[bytes, os.DirEntry[bytes]]]

TRIES = 8
"""How often a folder is made anew that somebody removes before anything lies in it."""
UNSTABLE_AFTER_S = 2.0
"""How long to leave a file or a folder alone that changed in the middle."""

TEMP = (".lumilio", "temp")
"""Where a copy lies while it is made."""
_T = TypeVar("_T")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class LocalBackend:
    """Files below ``root``, an absolute path that may itself be reached through links.

    Args:
        root: the repository's root.
        hard_links: store by a hard link to the source where the file system can; else copy, and read that back.
            Without, whoever has copies made reads them back.
    """

    atomic_no_replace = True
    local = True
    flaky = False

    def __init__(self, root: str, *, hard_links: bool = True) -> None:
        self.root = root
        self._hard_links = hard_links

    def open(self, path: RepoPath) -> BinaryIO:
        """Open a stored file; see :class:`~lumiliod.storage.backend.Backend`."""
        *folders, name = parts_of(path)
        with durable.translated("open", path), folder_below(self.root, folders) as folder:
            fd = open_plain(name, folder)
            return os.fdopen(fd, "rb")

    def stat(self, path: RepoPath) -> FileStat:
        """Return what is stored; see :class:`~lumiliod.storage.backend.Backend`."""
        *folders, name = parts_of(path)
        with durable.translated("look at", path), folder_below(self.root, folders) as folder:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISREG(found.st_mode):
            raise Permanent(f"{shown(path)} is not a plain file", code="unreadable")
        return stat_of(found)

    def put_new(self, source: str, target: RepoPath) -> bool:
        """Store ``source`` as ``target``; see :class:`~lumiliod.storage.backend.Backend`."""
        *folders, _ = parts_of(target)
        with ExitStack() as opened:
            opened.enter_context(durable.translated("store", target, writing=True))
            source_fd = open_plain(source)
            opened.callback(os.close, source_fd)
            os.fsync(source_fd)
            return in_folder(self.root, folders, lambda folder: self._put(source, source_fd, target, folder))

    def link(self, source: RepoPath, target: RepoPath) -> bool:
        """Give a stored file a second name; see :class:`~lumiliod.storage.backend.Links`."""
        self.stat(source)
        return self.put_new(self.local_path(source), target)

    def list(self, after: RepoPath | None, limit: int) -> list[Entry]:
        """Return a page of plain files in byte order, without our own; an unreadable folder raises."""
        page: list[Entry] = []
        start = b"" if after is None else path_bytes(after)
        pending: list[Iterator[tuple[bytes, os.DirEntry[bytes]]]] = [iter(self._sorted(b""))]
        while pending and len(page) < limit:
            for path, entry in pending[-1]:
                if path.endswith(b"/"):
                    # Every path below begins with this one: skip what ends before ``start``.
                    if path > start or start.startswith(path):
                        pending.append(iter(self._sorted(path)))
                        break
                elif path > start:
                    with suppress(FileNotFoundError):
                        text = RepoPath(os.fsdecode(path))
                        page.append(Entry(text, stat_of(entry.stat(follow_symlinks=False))))
                        if len(page) >= limit:
                            break
            else:
                pending.pop()
        return page

    def remove(self, path: RepoPath) -> None:
        """Remove a stored file; see :class:`~lumiliod.storage.backend.Backend`."""
        *folders, name = parts_of(path)
        try:
            with durable.translated("remove", path, writing=True), folder_below(self.root, folders) as folder:
                os.unlink(name, dir_fd=folder)
                durable.fsync_folder_fd(folder)
        except NotFound:
            return

    def local_path(self, path: RepoPath) -> str:
        """Return the absolute path of ``path``; what lies there may be anything."""
        return os.path.join(self.root, *parts_of(path))

    def _put(self, source: str, source_fd: int, target: RepoPath, folder: int) -> bool:
        """Store the source in an open folder under the name of ``target``; False when it is there already."""
        name = parts_of(target)[-1]
        try:
            if not self._linked(source, source_fd, name, folder):
                self._copied(source_fd, name, folder)
        except FileExistsError:
            if not _same_bytes(source_fd, name, folder):
                raise Conflict(f"{shown(target)} holds other bytes", code="name_taken", path=shown(target)) from None
            durable.fsync_folder_fd(folder)
            return False
        durable.fsync_folder_fd(folder)
        return True

    def _linked(self, source: str, source_fd: int, name: str, folder: int) -> bool:
        """Link the source into place; False where links cannot be made."""
        if not self._hard_links:
            return False
        try:
            os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in durable.NO_LINK_ERRNOS:
                return False
            raise
        placed, ours = os.stat(name, dir_fd=folder, follow_symlinks=False), os.fstat(source_fd)
        if (placed.st_dev, placed.st_ino) != (ours.st_dev, ours.st_ino):
            os.unlink(name, dir_fd=folder)
            raise Conflict(f"{shown(source)} was replaced while it was stored", code="unstable")
        return True

    def _copied(self, source_fd: int, name: str, folder: int) -> None:
        """Copy the source to our temp folder, make it durable, then rename it to the free name."""
        if _exists(name, folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        with folder_below(self.root, TEMP, create=True):
            temp_fd, temp = durable.create_owned(os.path.join(self.root, *TEMP), mode=0o644)
        try:
            hasher = blake3()
            os.lseek(source_fd, 0, os.SEEK_SET)
            while block := os.read(source_fd, durable.BLOCK_BYTES):
                durable.check_cancelled()
                hasher.update(block)
                durable.write_all(temp_fd, block)
            found = os.fstat(source_fd)
            os.utime(temp_fd, ns=(found.st_atime_ns, found.st_mtime_ns))
            os.fsync(temp_fd)
            # the source is let go after this: what the disk has counts, not what it was given
            if self._hard_links and uncached_digest(temp_fd)[0] != hasher.hexdigest():
                message = f"the disk does not give back what was written of {shown(name)}"
                raise Unavailable(message, code="io_error", after_s=UNSTABLE_AFTER_S)
            durable.rename_new(temp, name, target_fd=folder)
        except BaseException:
            durable.unlink(temp)
            raise
        finally:
            os.close(temp_fd)

    def _sorted(self, prefix: bytes) -> "_Folder":
        """List one folder in the order of full paths: a folder sorts as its name and a slash."""
        found: _Folder = []
        with (
            durable.translated("list", os.fsdecode(prefix)),
            os.scandir(os.fsencode(self.root) + b"/" + prefix) as all_,
        ):
            for entry in all_:
                if not prefix and os.fsdecode(entry.name) in OWN:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append((prefix + entry.name + b"/", entry))
                elif entry.is_file(follow_symlinks=False):
                    found.append((prefix + entry.name, entry))
        found.sort(key=lambda pair: pair[0])
        return found


@contextmanager
def folder_below(root: str, parts: list[str] | tuple[str, ...], *, create: bool = False) -> Iterator[int]:
    """Open the folder ``parts`` below the root, one part after the other, following no link below it.

    Raises:
        Permanent: one is a link (``unreadable``). Conflict: with ``create``, one is something else
            (``folder_taken``). OSError.
    """
    fd = _open_folder(root, parts, create=create)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_folder(root: str, parts: Sequence[str], *, create: bool) -> int:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            below = _open_part(fd, part, create=create)
            os.close(fd)
            fd = below
    except BaseException:
        os.close(fd)
        raise
    return fd


def _open_part(fd: int, part: str, *, create: bool) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=fd)
    except FileNotFoundError:
        if not create:
            raise
        with suppress(FileExistsError):
            os.mkdir(part, 0o777, dir_fd=fd)
        durable.fsync_folder_fd(fd)
        return os.open(part, _FOLDER, dir_fd=fd)
    except NotADirectoryError as error:
        if stat.S_ISLNK(os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode):
            raise Permanent(f"{shown(part)} is a symbolic link", code="unreadable") from error
        if create:
            raise Conflict(f"{shown(part)} is not a folder", code="folder_taken") from error
        raise


def in_folder(root: str, parts: Sequence[str], act: Callable[[int], _T]) -> _T:
    """Do something in an open folder below the root, which is made where it is missing; return what that returns.

    Folders are removed when they are empty, by people and by ourselves: where one goes between its making and the
    first file in it, it is made again and ``act`` is done again, which must end the same.

    Raises:
        Unavailable: it is removed again and again (``folder_unstable``). Others as :func:`folder_below`.
    """
    for _ in range(TRIES):
        with ExitStack() as opened:
            try:
                folder = opened.enter_context(folder_below(root, list(parts), create=True))
            except FileNotFoundError:
                os.stat(root)  # noqa: PTH116  a root that is gone is told
                continue
            try:
                return act(folder)
            except FileNotFoundError:
                if _is_at(root, parts, folder):
                    raise
    where = shown("/".join(parts))
    raise Unavailable(
        f"the folder {where} is removed again and again", code="folder_unstable", after_s=UNSTABLE_AFTER_S
    )


def _is_at(root: str, parts: Sequence[str], folder: int) -> bool:
    """Tell whether an open folder still has its name."""
    try:
        with folder_below(root, list(parts)) as now:
            return os.path.samestat(os.fstat(now), os.fstat(folder))
    except (OSError, Permanent):
        return False


def stat_of(found: os.stat_result) -> FileStat:
    """Return the part of a stat result we keep."""
    return FileStat(found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)


def open_below(root: str, path: str) -> int:
    """Open a plain file for reading, by its path relative to ``root``, following no link below the root."""
    return opened_below(root, path)[0]


def opened_below(root: str, path: str) -> tuple[int, os.stat_result]:
    """Open a file as :func:`open_below`; return its state, too."""
    *folders, name = path.split("/")
    if any(part in {"", ".", ".."} for part in (*folders, name)):
        raise Shape(f"{shown(path)!r} does not lie below {shown(root)}", code="bad_path")
    if not folders:
        return opened_plain(f"{root}/{name}")
    folder = _open_folder(root, folders, create=False)
    try:
        return opened_plain(name, folder)
    finally:
        os.close(folder)


def open_plain(path: str, folder: int | None = None) -> int:
    """Open a plain file for reading; links, pipes, sockets and devices are refused."""
    return opened_plain(path, folder)[0]


def opened_plain(path: str, folder: int | None = None) -> tuple[int, os.stat_result]:
    """Open a file as :func:`open_plain`; return its state, too."""
    try:
        fd = os.open(path, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            raise Permanent(f"{shown(path)} is not a plain file", code="unreadable") from error
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise Permanent(f"{shown(path)} is not a plain file", code="unreadable")
    except BaseException:
        os.close(fd)
        raise
    return fd, found


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def digest_open(fd: int) -> str:
    """Return the digest of an open file, whatever its offset. Raises OSError."""
    hasher, offset = blake3(), 0
    while block := os.pread(fd, durable.BLOCK_BYTES, offset):
        durable.check_cancelled()
        hasher.update(block)
        offset += len(block)
    return hasher.hexdigest()


def _same_bytes(source_fd: int, name: str, folder: int) -> bool:
    """Tell whether the file ``name`` holds the bytes of the source; if so they are durable afterwards."""
    try:
        fd = open_plain(name, folder)
    except (OSError, Permanent):
        return False
    try:
        ours, theirs = os.fstat(source_fd), os.fstat(fd)
        if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino):
            return True
        if ours.st_size != theirs.st_size:
            return False
        # what the disk has, and not what stands of it in memory, is what the source is let go for
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        offset = 0
        while block := os.pread(source_fd, durable.BLOCK_BYTES, offset):
            durable.check_cancelled()
            if os.pread(fd, len(block), offset) != block:
                return False
            offset += len(block)
        return True
    finally:
        os.close(fd)
