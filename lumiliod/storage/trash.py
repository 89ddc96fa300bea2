"""The trash of a repository: originals in ``.lumilio/trash/<id>``, each with its note. All calls block.

Files are moved there and back by renames that replace nothing, between file systems by a verified copy;
each call is durable when it returns, and doing it again after a crash ends the same. Nothing but
:func:`remove` unlinks a file whose bytes are not safe elsewhere.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import BinaryIO
from uuid import UUID

from blake3 import blake3

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, canonical_id, shown
from lumiliod.domain.naming import candidates
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import durable, local, trash_note
from lumiliod.storage.check import DISK_ERRNOS, uncached_digest
from lumiliod.storage.repository import DAMAGED_AFTER_S, Repository, check_identity
from lumiliod.storage.trash_note import Note

UNSTABLE_AFTER_S = 2.0


def put(repo: Repository, note: Note, known: FileStat) -> FileStat:
    """Move a file from its place into the trash.

    Args:
        repo: where both are.
        note: what it is; it is written first.
        known: its state on record. One that differs is read: only bytes of the note's digest are moved.

    Returns:
        Its state in the trash.

    Raises:
        NotFound: it is neither at its place nor in the trash (``file_missing``).
        Permanent: other bytes are at its place, or no plain file; they stay (``changed``, ``unreadable``).
        Unavailable: the repository is offline, or the disk does not take it now.
    """
    check_identity(repo)
    *folders, name = trash_note.parts(repo, note.place)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("move to the trash", note.place, writing=True))
        trash = opened.enter_context(_folder(repo))
        try:
            source = opened.enter_context(local.folder_below(repo.root, folders))
            if _look(_aside(note), source) is not None:  # a crash left it
                _give_back(_aside(note), name, source, Digest(note.digest))
            fd = _opened(name, source)
        except (FileNotFoundError, NotADirectoryError, Permanent):
            # looked at only now: somebody may be at the same work, and have moved it before we came
            kept = _look(str(note.id), trash)
            if kept is None:
                raise
            return _settled(trash, kept, known)
        opened.callback(os.close, fd)
        try:
            return _brought(repo, note, fd, (name, source), trash, known)
        except FileNotFoundError as error:
            kept = _look(str(note.id), trash)
            if kept is None or kept.st_size != known.size_bytes:
                raise _unstable(name) from error
            return _settled(trash, kept, known)


def _brought(repo: Repository, note: Note, fd: int, source: tuple[str, int], trash: int, known: FileStat) -> FileStat:
    """Move the open file ``fd`` into the trash, or find it there. FileNotFoundError: somebody has just moved it."""
    kept = _look(str(note.id), trash)
    if kept is not None:
        seen = os.fstat(fd)
        if not _is_leftover(seen, kept, known):
            return _settled(trash, kept, known)
        if _digest_of(str(note.id), trash) == note.digest:
            _drop(fd, source, local.stat_of(seen), Digest(note.digest), _aside(note))
            durable.fsync_folder_fd(source[1])
            return _settled(trash, kept, known)
        # a crash where a name can only be claimed before it is renamed to: our own empty file
        if kept.st_size:
            raise Unavailable(f"{note.id} holds other bytes in the trash", code="repository_damaged", after_s=60)
        os.unlink(str(note.id), dir_fd=trash)
    checked = local.stat_of(os.fstat(fd))
    _check_bytes(fd, note, known)
    trash_note.write(repo, note)
    os.fsync(fd)
    _move(fd, source, (str(note.id), trash), Digest(note.digest), os.path.join(repo.temp, ""), _aside(note))
    return _settled(trash, os.stat(str(note.id), dir_fd=trash, follow_symlinks=False), checked)


def take_back(repo: Repository, note: Note, known: FileStat, naming: DuplicateNames) -> tuple[RepoPath, FileStat]:
    """Move a file from the trash to its old place, or beside what has that by now.

    Args:
        repo: where both are.
        note: what it is; its ``place`` comes first. The note stays: see :func:`trash_note.forget`.
        known: its state in the trash on record. It is read in any case: only bytes of the note's digest are moved.
        naming: what to call it where its name is taken; ``overwrite`` is as ``rename``: nothing gives way.

    Returns:
        Where it lies now, and its state.

    Raises:
        NotFound: it is neither in the trash nor where it belongs (``file_missing``).
        Permanent: other bytes lie in the trash under its name (``changed``), no plain file (``unreadable``), or the
            disk does not give them back (``io_error``).
        Conflict: every name is taken (``name_taken``).
        Unavailable: the repository is offline, or the disk does not take it now.
    """
    check_identity(repo)
    digest = Digest(note.digest)
    with ExitStack() as opened:
        opened.enter_context(durable.translated("restore", note.place, writing=True))
        trash = opened.enter_context(_folder(repo))
        try:
            fd = _opened(str(note.id), trash)
        except FileNotFoundError:
            return _found_again(repo, note, known, naming)
        opened.callback(os.close, fd)
        _check_read(fd, note)
        for home in _homes(note):
            for path in candidates(home, naming, digest):
                try:
                    found = _back_to(repo, path, fd, (str(note.id), trash), digest)
                except (Conflict, Permanent, NotADirectoryError) as error:
                    if isinstance(error, Permanent | Conflict) and error.code not in {"unreadable", "folder_taken"}:
                        raise
                    break  # its folder is none any more
                if found is not None:
                    return path, found
    raise Conflict(f"every name for {shown(note.place)} is taken", code="name_taken")


def verify(repo: Repository, note: Note, known: FileStat) -> FileStat:
    """Make sure that a file in the trash is the one on record, by its size and digest; return its state now.

    Another inode than on record is what a backup restored to another disk has; the bytes decide.

    Raises:
        NotFound: it is not there (``file_missing``).
        Permanent: it is no plain file (``unreadable``), another one (``changed``), or has other bytes
            (``digest_mismatch``).
        Unavailable: the repository is offline, or the disk fails.
    """
    check_identity(repo)
    with durable.translated("verify", str(note.id)), _folder(repo) as trash:
        found = _check_same(note, trash, known)
        if found == known.inode and _digest_of(str(note.id), trash) != note.digest:
            raise Permanent(f"{note.id} in the trash has another digest", code="digest_mismatch")
    return replace(known, inode=found)


def remove(repo: Repository, note: Note, known: FileStat) -> int:
    """Unlink a verified file of the trash, and its note; return the bytes this freed, 0 when it was gone.

    Raises:
        Permanent: what lies there is not what was verified (``changed``, ``unreadable``); it stays.
        Unavailable: as :func:`verify`.
    """
    check_identity(repo)
    freed = 0
    with durable.translated("remove", str(note.id), writing=True), _folder(repo) as trash:
        try:
            _check_same(note, trash, known)
        except NotFound:
            pass
        else:
            os.unlink(str(note.id), dir_fd=trash)
            freed = known.size_bytes
        trash_note.forget(repo, note.id)
        durable.fsync_folder_fd(trash)
    return freed


def remove_derivative(repo: Repository, path: str, asset_id: UUID) -> None:
    """Unlink a derivative of an asset, if it is there; ``path`` is relative to ``.lumilio``.

    Raises:
        Shape: the path is not that of a derivative of this asset (``bad_path``).
        Unavailable: the disk does not take it now.
    """
    *folders, name = path.split("/")
    is_plain = all(part not in {"", ".", ".."} for part in folders) and "\0" not in path
    if not is_plain or folders[:1] != ["assets"] or not name.startswith(str(asset_id)):
        raise Shape(f"{shown(path)!r} is no derivative of {asset_id}", code="bad_path")
    try:
        with (
            durable.translated("remove", path, writing=True),
            local.folder_below(repo.root, (".lumilio", *folders)) as folder,
        ):
            os.unlink(name, dir_fd=folder)
    except (NotFound, Permanent):  # gone, or a link: what is behind that is not ours
        return


def ids(repo: Repository) -> tuple[dict[UUID, int | None], list[str]]:
    """Return what lies in the trash: the ids with their sizes in bytes, None for a note without a file; other names."""
    found: dict[UUID, int | None] = {}
    others: list[str] = []
    with durable.translated("list", repo.trash), _folder(repo) as trash:
        for name in sorted(os.listdir(trash)):
            note = name.removesuffix(".tmp") if name.endswith(".json.tmp") else name
            id_ = canonical_id(note.removesuffix(".json"))
            kept = _look(name, trash)
            if kept is None:
                continue
            if id_ is None or not stat.S_ISREG(kept.st_mode):
                others.append(shown(name))
            elif note.endswith(".json"):
                found.setdefault(id_)
            else:
                found[id_] = kept.st_size
    return found, others


def path_of(repo: Repository, id: UUID) -> str:  # noqa: A002
    """Return the absolute path a file has in the trash."""
    return os.path.join(repo.trash, str(id))


def open_file(repo: Repository, id: UUID) -> BinaryIO:  # noqa: A002
    """Open a file in the trash for reading; the caller closes it.

    Raises:
        NotFound: it is not there (``file_missing``). Permanent: no plain file (``unreadable``).
        Unavailable: the repository is offline, or the disk fails.
    """
    check_identity(repo)
    with durable.translated("read", str(id)), _folder(repo) as trash:
        return os.fdopen(_opened(str(id), trash), "rb")


def stat_of(repo: Repository, id: UUID) -> FileStat | None:  # noqa: A002
    """Return the state of a plain file in the trash; None when there is none."""
    with durable.translated("look at", str(id)), _folder(repo) as trash:
        kept = _look(str(id), trash)
    return local.stat_of(kept) if kept is not None and stat.S_ISREG(kept.st_mode) else None


@contextmanager
def _folder(repo: Repository) -> Iterator[int]:
    """Open the trash, following no link; a lost one is made again.

    Raises:
        Unavailable: something else lies there (``repository_damaged``).
    """
    with ExitStack() as opened:
        try:
            folder = opened.enter_context(local.folder_below(repo.root, (".lumilio", "trash"), create=True))
        except (Permanent, Conflict) as error:
            message = f".lumilio/trash of {shown(repo.root)} is not a folder"
            raise Unavailable(message, code="repository_damaged", after_s=DAMAGED_AFTER_S) from error
        yield folder


def _move(
    fd: int, source: tuple[str, int], target: tuple[str, int], digest: Digest, temp: str, aside: str | None = None
) -> None:
    """Rename the open file ``fd`` from one folder to another; where that is another file system, copy it.

    ``temp`` begins the path of the copy while it is written, on the target's file system; for ``aside`` see
    :func:`_drop`.
    """
    (name, from_fd), (new_name, to_fd) = source, target
    seen = local.stat_of(os.fstat(fd))
    try:
        durable.rename_new(name, new_name, source_fd=from_fd, target_fd=to_fd)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(fd, new_name, to_fd, digest, temp)
        _drop(fd, source, seen, digest, aside)
    else:
        if not _is_same(fd, new_name, to_fd):
            # somebody replaced the file between the look and the rename: back with what is theirs
            durable.rename_new(new_name, name, source_fd=to_fd, target_fd=from_fd)
            raise _unstable(name)
    durable.fsync_folder_fd(to_fd)
    durable.fsync_folder_fd(from_fd)


def _drop(fd: int, source: tuple[str, int], seen: FileStat, digest: Digest, aside: str | None) -> None:
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
            _give_back(aside, name, folder, digest)
        raise _unstable(name)
    os.unlink(aside or name, dir_fd=folder)


def _give_back(aside: str, name: str, folder: int, digest: Digest) -> None:
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


def _aside(note: Note) -> str:
    """Return the name a file has for a moment before it is unlinked: hidden, and the same when it is done again."""
    return f".lumilio-{note.id}.gone"


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
            raise _unstable(name)
        durable.rename_new(path, name, target_fd=folder)
        durable.fsync_folder_fd(folder)
    except BaseException:
        durable.unlink(path)
        raise
    finally:
        os.close(temp_fd)


def _back_to(repo: Repository, path: RepoPath, fd: int, source: tuple[str, int], digest: Digest) -> FileStat | None:
    """Move a file of the trash to ``path``; None when that name is taken."""
    *folders, name = trash_note.parts(repo, path)
    # hidden, and named so that doing it again finds it
    temp = os.path.join(repo.root, *folders, f".lumilio-{source[0]}.part")

    def move(target: int) -> FileStat | None:
        taken = _look(name, target)
        if taken is not None and not _is_copy(fd, taken, name, target, digest):
            return None
        if taken is not None:
            os.unlink(source[0], dir_fd=source[1])
            durable.fsync_folder_fd(target)
            durable.fsync_folder_fd(source[1])
        else:
            durable.unlink(temp)
            try:
                _move(fd, source, (name, target), digest, temp)
            except FileExistsError:
                return None
        return local.stat_of(os.stat(name, dir_fd=target, follow_symlinks=False))

    return local.in_folder(repo.root, folders, move)


def _is_copy(fd: int, taken: os.stat_result, name: str, folder: int, digest: Digest) -> bool:
    """Tell whether a name is taken by the very file, or by the copy a crash left on another file system."""
    ours = os.fstat(fd)
    if (taken.st_dev, taken.st_ino) == (ours.st_dev, ours.st_ino):
        return True
    is_alike = stat.S_ISREG(taken.st_mode) and taken.st_size == ours.st_size and taken.st_mtime_ns == ours.st_mtime_ns
    return taken.st_dev != ours.st_dev and is_alike and _digest_of(name, folder) == digest


def _found_again(repo: Repository, note: Note, known: FileStat, naming: DuplicateNames) -> tuple[RepoPath, FileStat]:
    """Return where an interrupted :func:`take_back` has put a file: under one of the names it would have tried."""
    for home in _homes(note):
        for path in candidates(home, naming, Digest(note.digest)):
            *folders, name = trash_note.parts(repo, path)
            try:
                with local.folder_below(repo.root, folders) as folder:
                    there = _look(name, folder)
                    if there is None or there.st_size != known.size_bytes or not stat.S_ISREG(there.st_mode):
                        continue
                    if _digest_of(name, folder) == note.digest:
                        durable.fsync_folder_fd(folder)
                        return path, local.stat_of(there)
            except (FileNotFoundError, NotADirectoryError, Permanent):
                break
    raise NotFound(f"{shown(note.place)} is not in the trash any more", code="file_missing")


def _homes(note: Note) -> Iterator[RepoPath]:
    """Yield where a file may go back to: its old place, and the inbox where that folder is none any more."""
    yield note.place
    yield RepoPath(f"inbox/{note.place.rpartition('/')[2]}")


def _check_bytes(fd: int, note: Note, known: FileStat) -> None:
    found = local.stat_of(os.fstat(fd))
    if found != known and (found.size_bytes != known.size_bytes or _digest(fd) != note.digest):
        raise Permanent(f"other bytes lie under the name of {shown(note.place)}", code="changed")


def _check_read(fd: int, note: Note) -> None:
    """Read a file from the disk itself: bits may have rotted, in months, under the same size and time."""
    try:
        found = uncached_digest(fd)
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        raise Permanent(f"the disk does not give back {note.id}: {error.strerror}", code="io_error") from error
    if found != (note.digest, note.size_bytes):
        raise Permanent(f"other bytes lie under the name of {shown(note.place)}", code="changed")


def _check_same(note: Note, folder: int, known: FileStat) -> int:
    """Make sure that a file in the trash is the one on record, or another with the very bytes; return its inode."""
    name = str(note.id)
    kept = _look(name, folder)
    if kept is None:
        raise NotFound(f"{name} is not in the trash", code="file_missing")
    if not stat.S_ISREG(kept.st_mode):
        raise Permanent(f"{name} in the trash is not a plain file", code="unreadable")
    is_same = (kept.st_size, kept.st_ino) == (known.size_bytes, known.inode)
    if not is_same and (kept.st_size != known.size_bytes or _digest_of(name, folder) != note.digest):
        raise Permanent(f"{name} in the trash is another file than the one on record", code="changed")
    return kept.st_ino


def _settled(folder: int, kept: os.stat_result, checked: FileStat) -> FileStat:
    """Return the state on record of a file that is in the trash now, durably: what was checked, under its inode there.

    So one that somebody still writes to differs from its record.
    """
    if not stat.S_ISREG(kept.st_mode):
        raise Permanent("what lies in the trash is not a plain file", code="unreadable")
    durable.fsync_folder_fd(folder)
    return FileStat(checked.size_bytes, checked.mtime_ns, kept.st_ino)


def _is_leftover(placed: os.stat_result, kept: os.stat_result, known: FileStat) -> bool:
    """Tell whether what is still at its place is the file in the trash, linked or copied and not yet unlinked."""
    return (placed.st_dev, placed.st_ino) == (kept.st_dev, kept.st_ino) or local.stat_of(placed) == known


def _is_same(fd: int, name: str, folder: int) -> bool:
    ours, there = os.fstat(fd), _look(name, folder)
    return there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def _opened(name: str, folder: int) -> int:
    """Open a plain file. A link in its place is no failure of the disk."""
    try:
        return local.open_plain(name, folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Permanent(f"{shown(name)} is a symbolic link", code="unreadable") from error
        raise


def _look(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _digest_of(name: str, folder: int) -> str:
    fd = local.open_plain(name, folder)
    try:
        return _digest(fd)
    finally:
        os.close(fd)


def _digest(fd: int) -> str:
    hasher, offset = blake3(), 0
    while block := os.pread(fd, durable.BLOCK_BYTES, offset):
        durable.check_cancelled()
        hasher.update(block)
        offset += len(block)
    return hasher.hexdigest()


def _unstable(name: str) -> Unavailable:
    return Unavailable(f"{shown(name)} was replaced while it was moved", code="unstable", after_s=UNSTABLE_AFTER_S)
