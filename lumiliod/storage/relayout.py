"""Moving files within a repository's inbox: looked at first, then moved so that nothing is replaced. All calls block.

::

    look        where a file is and which of its names is free; reads what has to be read, changes nothing
    prepare     the copy, where no rename will do: it may take long, and be given up
    carry_out   a rename between two open folders, both synced; between file systems a copy, read back, and an unlink;
                where the same bytes have the name, only the unlink; refuses when anything changed since the look

Doing both again after a crash finds the file where it was put, or both it and its copy. But for what we write ourselves
on the way, nothing is unlinked unless the same bytes were read in the file that is kept.
"""

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.storage import durable, local
from lumiliod.storage.backend import parts_of
from lumiliod.storage.check import recorded
from lumiliod.storage.digesting import digest_file
from lumiliod.storage.local import UNSTABLE_AFTER_S
from lumiliod.storage.relayout_copy import Copy, make
from lumiliod.storage.repository import Repository, check_identity

INBOX = "inbox"

NOTHING = FileStat(-1, 0, 0)
"""Stands for what is no plain file: a folder, a link; it has its name, and bytes of nobody."""


class How(Enum):
    """What is to be done with a file."""

    MOVE = "its name is free"
    MERGE = "the same bytes have its name: they are kept, this file goes"
    ARRIVED = "it has its name already, from an attempt that was cut off"
    COPY = "it is to be back beside the file that was kept for it"


@dataclass(frozen=True, slots=True)
class Look:
    """What was found: where the file is and is to be, its state, and that of the file at ``target``."""

    how: How
    source: RepoPath
    target: RepoPath
    stat: FileStat
    there: FileStat | None = None

    @property
    def keeps_another(self) -> bool:
        """Whether another file is kept for this one; two names of one file are none."""
        return self.how is How.MERGE and self.there is not None and self.there.inode != self.stat.inode


def look(
    repo: Repository,
    source: RepoPath,
    names: Iterable[RepoPath],
    known: FileStat,
    digest: Digest | None,
    *,
    verify: bool = False,
) -> Look:
    """Find the first of ``names`` that a file can have.

    Args:
        repo: where both are.
        source: where the file is on record.
        names: where it may go, best first.
        known: its state on record. One that differs is read, and must have ``digest``; without one it must not differ.
        digest: of its bytes; None where no record has it.
        verify: read it in any case.

    Raises:
        NotFound: it is neither there nor at one of the names (``file_missing``).
        Permanent: it has other bytes (``changed``), or is no plain file (``unreadable``).
        Conflict: no name is free (``name_taken``), or a file lies where a folder must be (``folder_taken``).
        Shape: a name leads out of the inbox (``bad_path``), or the file system cannot hold it (``name_unstorable``).
        Unavailable: the repository is offline, or the disk does not answer now.
    """
    check_identity(repo)
    found = _stat(repo, source)
    if found is None:
        return _arrived(repo, source, names, known, digest)
    if found == NOTHING:
        raise Permanent(f"{shown(source)} is not a plain file", code="unreadable")
    if recorded(found) != known or (verify and digest is not None):
        found = _verified(repo, source, digest)
    for target in names:
        there = _stat(repo, target)
        if there is None:
            return Look(How.MOVE, source, target, found)
        if there == found:  # two names of one file
            return Look(How.MERGE, source, target, found, there)
        is_alike = digest is not None and there.size_bytes == found.size_bytes
        if is_alike and _holds(repo, target, digest) and _holds(repo, source, digest):
            return Look(How.MERGE, source, target, found, there)
    raise Conflict(f"every name for {shown(source)} is taken", code="name_taken")


def look_back(repo: Repository, kept: RepoPath, target: RepoPath, digest: Digest) -> Look:
    """Find how a file that was merged into ``kept`` gets its old name ``target`` again. Raises as :func:`look`."""
    check_identity(repo)
    there = _stat(repo, target)
    if there is not None:
        if _holds(repo, target, digest):
            return Look(How.ARRIVED, target, target, there)
        raise Conflict(f"{shown(target)} holds other bytes", code="name_taken")
    found, stat_ = _digest_at(repo, kept)
    if found != digest:
        raise Permanent(f"other bytes lie at {shown(kept)}", code="changed")
    return Look(How.COPY, kept, target, stat_)


def find(
    repo: Repository, source: RepoPath, names: Iterable[RepoPath], known: FileStat, digest: Digest | None
) -> RepoPath:
    """Return where a file is whose move may have been cut off: still at ``source``, or at one of the names.

    Raises:
        NotFound: at none of them (``file_missing``). Others as :func:`look`.
    """
    check_identity(repo)
    return source if _stat(repo, source) is not None else _arrived(repo, source, names, known, digest).target


def prepare(repo: Repository, seen: Look, digest: Digest | None) -> Copy | None:
    """Make the copy that :func:`carry_out` will need; None where it needs none. Whoever has it has to forget it.

    Raises:
        Unavailable: the file changed since the look (``unstable``), the repository is offline, or the disk does not
            take it now. Others as :func:`look`.
    """
    if digest is None or seen.how not in (How.MOVE, How.COPY):
        return None
    check_identity(repo)
    *folders, _ = _parts(seen.target)
    *from_folders, from_name = _parts(seen.source)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("copy", seen.source, writing=True))
        temp = opened.enter_context(local.folder_below(repo.root, (".lumilio", "temp"), create=True))
        from_fd = opened.enter_context(local.folder_below(repo.root, from_folders))

        def act(to_fd: int) -> Copy | None:
            if seen.how is How.MOVE and _device(from_fd) == _device(to_fd):
                return None
            folder = temp if _device(temp) == _device(to_fd) else to_fd
            return _made((from_name, from_fd), seen, digest, folder)

        return local.in_folder(repo.root, folders, act)


def carry_out(repo: Repository, seen: Look, digest: Digest | None, copy: Copy | None = None) -> FileStat:
    """Do what :func:`look` found, durably; return the state of the file at ``seen.target``.

    Args:
        repo: where both are.
        seen: what was found.
        digest: of the file's bytes.
        copy: what :func:`prepare` made; without it, where one is needed, it is made now.

    Raises:
        Unavailable: something changed since the look (``unstable``), the repository is offline, or the disk does not
            take it now. Others as :func:`look`.
    """
    check_identity(repo)
    *folders, name = _parts(seen.target)
    *from_folders, from_name = _parts(seen.source)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("move", seen.source, writing=True))
        from_fd = opened.enter_context(local.folder_below(repo.root, from_folders))

        def act(to_fd: int) -> FileStat:
            match seen.how:
                case How.MOVE:
                    _rename((from_name, from_fd), (name, to_fd), seen, digest, copy)
                case How.MERGE:
                    _drop((from_name, from_fd), (name, to_fd), seen)
                case How.COPY:
                    assert digest is not None
                    _copied((from_name, from_fd), (name, to_fd), seen, digest, copy)
                case How.ARRIVED:
                    durable.fsync_folder_fd(to_fd)
            return local.stat_of(os.stat(name, dir_fd=to_fd, follow_symlinks=False))

        return local.in_folder(repo.root, folders, act)


def forget_empty(repo: Repository, folder: str) -> int:
    """Remove a folder below the inbox, and those above it, while they are empty; return how many went.

    Raises:
        Unavailable: the repository is offline.
    """
    check_identity(repo)
    parts = folder.split("/")
    gone = 0
    while len(parts) > 1 and parts[0] == INBOX and not {"", ".", ".."}.intersection(parts):
        try:
            with local.folder_below(repo.root, parts[:-1]) as above:
                os.rmdir(parts[-1], dir_fd=above)
                durable.fsync_folder_fd(above)
                gone += 1
        except FileNotFoundError:
            pass  # its parent may be left
        except (OSError, Permanent):
            break  # not empty, not ours to remove, or no folder
        parts.pop()
    return gone


def bytes_elsewhere(repo: Repository, folders: dict[str, int]) -> int:
    """Return how many of the bytes in ``folders`` (folder to bytes) lie on another file system than the inbox."""
    try:
        here = os.stat(repo.inbox, follow_symlinks=False).st_dev  # noqa: PTH116
    except OSError:
        return 0
    total = 0
    for folder, size_bytes in folders.items():
        try:
            found = os.stat(repo.absolute(RepoPath(folder)), follow_symlinks=False)  # noqa: PTH116
        except OSError:
            continue
        total += size_bytes if found.st_dev != here else 0
    return total


def _arrived(
    repo: Repository, source: RepoPath, names: Iterable[RepoPath], known: FileStat, digest: Digest | None
) -> Look:
    """Return where an interrupted move has put a file: a rename keeps inode, size and time; a copy the bytes."""
    for target in names:
        there = _stat(repo, target)
        if there is None:
            continue
        is_copy = digest is not None and there.size_bytes == known.size_bytes
        if recorded(there) == known or (is_copy and _holds(repo, target, digest)):
            return Look(How.ARRIVED, target, target, there)
    raise NotFound(f"{shown(source)} is not there", code="file_missing")


def _verified(repo: Repository, source: RepoPath, digest: Digest | None) -> FileStat:
    if digest is None:
        raise Permanent(f"{shown(source)} is not as on record", code="changed")
    read, found = _digest_at(repo, source)
    if read != digest:
        raise Permanent(f"{shown(source)} holds other bytes than on record", code="changed")
    return found


def _digest_at(repo: Repository, path: RepoPath) -> tuple[Digest, FileStat]:
    return digest_file(repo.absolute(path), root=repo.root, uncached=True)


def _holds(repo: Repository, path: RepoPath, digest: Digest | None) -> bool:
    """Tell whether a plain file with these bytes lies at ``path``, as it is read now."""
    try:
        return _digest_at(repo, path)[0] == digest
    except (NotFound, Permanent):
        return False


def _parts(path: RepoPath) -> list[str]:
    """Return the folders and the name of a place in the inbox.

    Raises:
        Shape: it is none (``bad_path``).
    """
    parts = parts_of(path)
    if len(parts) < 2 or parts[0] != INBOX:
        raise Shape(f"{shown(path)!r} does not lie in the inbox", code="bad_path")
    return parts


def _stat(repo: Repository, path: RepoPath) -> FileStat | None:
    """Return the state of what has a name, None when it is free; what is no plain file is ``NOTHING``.

    Raises:
        Conflict: a folder of it is none (``folder_taken``).
    """
    *folders, name = _parts(path)
    try:
        with durable.translated("look at", path), local.folder_below(repo.root, folders) as folder:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except NotFound as error:
        if isinstance(error.__cause__, NotADirectoryError):
            raise Conflict(f"a file lies where a folder of {shown(path)} must be", code="folder_taken") from error
        return None
    except Permanent as error:
        raise Conflict(f"a folder of {shown(path)} is none of ours: {error.message}", code="folder_taken") from error
    return local.stat_of(found) if stat.S_ISREG(found.st_mode) else NOTHING


def _rename(
    source: tuple[str, int], target: tuple[str, int], seen: Look, digest: Digest | None, copy: Copy | None
) -> None:
    name, from_fd = source
    _check_same(name, from_fd, seen.stat)
    if copy is None and _renamed(source, target, seen, digest):
        return
    assert digest is not None
    _copied(source, target, seen, digest, copy)
    _check_same(name, from_fd, seen.stat)
    os.unlink(name, dir_fd=from_fd)
    durable.fsync_folder_fd(from_fd)


def _renamed(source: tuple[str, int], target: tuple[str, int], seen: Look, digest: Digest | None) -> bool:
    """Rename a file; tell whether that could be done, or it takes a copy."""
    (name, from_fd), (new_name, to_fd) = source, target
    try:
        durable.rename_new(name, new_name, source_fd=from_fd, target_fd=to_fd)
    except FileExistsError as error:
        raise _unstable(seen.target) from error
    except OSError as error:
        if error.errno != errno.EXDEV or digest is None:
            raise
        return False
    if _look(new_name, to_fd) != seen.stat:
        # somebody replaced the file between the look and the rename: back with what is theirs
        durable.rename_new(new_name, name, source_fd=to_fd, target_fd=from_fd)
        raise _unstable(seen.source)
    durable.fsync_folder_fd(to_fd)
    durable.fsync_folder_fd(from_fd)
    return True


def _drop(source: tuple[str, int], target: tuple[str, int], seen: Look) -> None:
    """Unlink a file whose bytes were read in another one, once those are durable."""
    (name, from_fd), (kept_name, to_fd) = source, target
    _check_same(name, from_fd, seen.stat)
    kept = local.open_plain(kept_name, to_fd)
    try:
        if local.stat_of(os.fstat(kept)) != seen.there:
            raise _unstable(seen.target)
        os.fsync(kept)
    finally:
        os.close(kept)
    durable.fsync_folder_fd(to_fd)
    os.unlink(name, dir_fd=from_fd)
    durable.fsync_folder_fd(from_fd)


def _copied(source: tuple[str, int], target: tuple[str, int], seen: Look, digest: Digest, copy: Copy | None) -> None:
    """Give a copy of a file a free name; one that lies elsewhere than its folder is made anew, there."""
    name, to_fd = target
    try:
        if copy is not None:
            try:
                copy.place(name, to_fd)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        beside = _made(source, seen, digest, to_fd)
        try:
            beside.place(name, to_fd)
        finally:
            beside.forget()
    except FileExistsError as error:
        raise _unstable(seen.target) from error


def _made(source: tuple[str, int], seen: Look, digest: Digest, folder: int) -> Copy:
    made = make(source, seen.stat, digest, folder)
    if made is None:
        raise _unstable(seen.source)
    return made


def _device(folder: int) -> int:
    return os.fstat(folder).st_dev


def _check_same(name: str, folder: int, expected: FileStat) -> None:
    if _look(name, folder) != expected:
        raise _unstable(name)


def _look(name: str, folder: int) -> FileStat | None:
    """Return the state of a plain file, None for anything else."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    return local.stat_of(found) if stat.S_ISREG(found.st_mode) else None


def _unstable(name: str) -> Unavailable:
    return Unavailable(f"{shown(name)} changed while it was moved", code="unstable", after_s=UNSTABLE_AFTER_S)
