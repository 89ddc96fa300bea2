"""Originals: read them once to know them, commit them to the inbox without ever replacing anything."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from blake3 import blake3

from lumiliod import plugins
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import ConfigError, Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.domain.naming import candidates
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import blocks, durable, local
from lumiliod.storage.backend import Backend
from lumiliod.storage.layout import GROUP, Layout, Placing, named
from lumiliod.storage.repository import Repository, check_identity
from lumiliod.storage.settled import is_being_written
from lumiliod.storage.uncached import uncached_digest

NAMES = 50
"""Names of a kind that are compared with records; beyond them only the disk says what is taken."""

UNSTABLE_AFTER_S = 2.0
"""How long to leave a file alone that changed while it was read."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an original lies now; ``created`` is False when the same bytes already lay there."""

    path: RepoPath
    stat: FileStat
    created: bool


def commit(
    repo: Repository,
    backend: Backend,
    layout: Layout,
    staged_path: str,
    item: Placing,
    policy: DuplicateNames,
    taken: Collection[RepoPath] = (),
) -> Placed:
    """Store a staged file durably at the first free place its layout and ``policy`` allow.

    Doing it again after a crash finds the same place and returns ``created=False``, also where the
    repository has another layout by now and the file was linked. ``overwrite``
    behaves as ``rename``: whoever wants that moves the older original into the trash first
    (:func:`first_choice`); nothing is ever replaced here. Where the repository does not preserve
    file names, or the file system cannot hold this one, the digest is the name. Names of ``taken`` are passed over,
    whatever lies there.

    Raises:
        Conflict: every candidate is taken (``name_taken``).
        Unavailable: no room (``no_space``), the disk does not take it now, the repository is away, or its folders are
            removed as fast as they are made (``folder_unstable``).
        NotFound: the staged file is not there (``file_missing``).
    """
    try:
        before = _linked_before(repo, backend, staged_path, item, policy, taken)
        if before is not None:
            return Placed(before, backend.stat(before), backend.put_new(staged_path, before))
        return _placed(repo, backend, layout, staged_path, item, policy, taken)
    except NotFound:
        # a root that went away in the middle says nothing of the upload
        check_identity(repo)
        raise


def names(repo: Repository, layout: Layout, item: Placing, policy: DuplicateNames) -> Iterator[RepoPath]:
    """Yield the places that :func:`commit` may try, so many of each kind as are compared with what is on record."""
    first, nameless = first_choice(repo, layout, item), layout.place(_nameless(item))
    for one in dict.fromkeys([first, nameless]):
        yield from islice(candidates(one, policy, item.digest), NAMES)


def _placed(
    repo: Repository,
    backend: Backend,
    layout: Layout,
    staged_path: str,
    item: Placing,
    policy: DuplicateNames,
    taken: Collection[RepoPath],
) -> Placed:
    try:
        return _commit(backend, first_choice(repo, layout, item), staged_path, item.digest, policy, taken)
    except Shape as error:
        if error.code != "name_unstorable" or item == _nameless(item):
            raise
    return _commit(backend, layout.place(_nameless(item)), staged_path, item.digest, policy, taken)


def first_choice(repo: Repository, layout: Layout, item: Placing) -> RepoPath:
    """Return the place that :func:`commit` tries first."""
    return layout.place(item if repo.marker.local_settings.preserve_original_filename else _nameless(item))


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
    # context managers and needless calls would cost a tenth: threads that want the interpreter wait for each other
    try:
        fd, before = local.opened_plain(path) if root is None else local.opened_below(root, _below(root, path))
        try:
            if settled and is_being_written(fd):
                raise Unavailable(f"{shown(path)} is being written", code="unstable", after_s=UNSTABLE_AFTER_S)
            if uncached:
                os.fdatasync(fd)
                before = os.fstat(fd)
                digest, total = uncached_digest(fd)
            else:
                digest, total = _digest(fd, before.st_size)
        finally:
            os.close(fd)
        # what has its name now is the same file, so this is how it is after reading, too
        now = _stat_now(path)
    except OSError as error:
        raise durable.as_ours(error, "read", path) from error
    found = local.stat_of(before)
    if now is None or now.st_dev != before.st_dev or local.stat_of(now) != found or total != before.st_size:
        raise Unavailable(f"{shown(path)} changed while it was read", code="unstable", after_s=UNSTABLE_AFTER_S)
    return digest, found


def _below(root: str, path: str) -> str:
    """Return a path relative to a folder it lies below."""
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else os.path.relpath(path, root)


def _digest(fd: int, size_bytes: int) -> tuple[Digest, int]:
    """Return the digest of an open file and how many bytes that were; not asked for more than its size for nothing."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
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


def _commit(
    backend: Backend,
    first: RepoPath,
    staged_path: str,
    digest: Digest,
    policy: DuplicateNames,
    taken: Collection[RepoPath],
) -> Placed:
    for _ in range(local.TRIES):
        path, created = _put(backend, first, staged_path, digest, policy, taken)
        with suppress(NotFound):  # its folder was removed, or renamed, with it: the staged bytes are here
            return Placed(path, backend.stat(path), created)
    message = f"{shown(first)} is removed as often as it is stored"
    raise Unavailable(message, code="folder_unstable", after_s=UNSTABLE_AFTER_S)


def _put(
    backend: Backend,
    first: RepoPath,
    staged_path: str,
    digest: Digest,
    policy: DuplicateNames,
    taken: Collection[RepoPath],
) -> tuple[RepoPath, bool]:
    for path in candidates(first, policy, digest):
        if path in taken:
            continue
        try:
            created = backend.put_new(staged_path, path)
        except Conflict as error:
            if error.code != "name_taken":
                raise
            continue
        return path, created
    raise Conflict(f"every name for {shown(first)} is taken", code="name_taken", path=shown(first))


def _linked_before(
    repo: Repository,
    backend: Backend,
    staged_path: str,
    item: Placing,
    policy: DuplicateNames,
    taken: Collection[RepoPath],
) -> RepoPath | None:
    """Return the name that a staged file has in the inbox, by any layout; None when it has none, or is copied there."""
    if not backend.local:
        return None
    with durable.translated("look at", staged_path):
        staged = os.lstat(staged_path)
    if staged.st_nlink == 1:
        return None
    for name in plugins.names(GROUP):
        with suppress(ConfigError, Shape):
            for path in candidates(first_choice(repo, named(name), item), policy, item.digest):
                try:
                    found = backend.stat(path)
                except (NotFound, Permanent):
                    break
                if found == local.stat_of(staged) and path not in taken:
                    return path
    return None


def _nameless(item: Placing) -> Placing:
    return replace(item, filename=f"{item.digest}{item.extension}")


def _stat_now(path: str) -> os.stat_result | None:
    """Return the state of what ``path`` names now; None when it is gone."""
    try:
        return os.stat(path, follow_symlinks=False)  # noqa: PTH116
    except FileNotFoundError:
        return None
