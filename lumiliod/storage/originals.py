"""Originals: read them once to know them, commit them to the inbox without ever replacing anything."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from lumiliod import plugins
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import ConfigError, Conflict, NotFound, Permanent, Shape, Unavailable
from lumiliod.domain.ids import Digest, RepoPath, shown
from lumiliod.domain.naming import candidates
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.storage import durable, local
from lumiliod.storage.backend import Backend
from lumiliod.storage.layout import GROUP, Layout, Placing, named
from lumiliod.storage.repository import Repository, check_identity

NAMES = 50
"""Names of a kind that are compared with records; beyond them only the disk says what is taken."""


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
    raise Unavailable(message, code="folder_unstable", after_s=local.UNSTABLE_AFTER_S)


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
