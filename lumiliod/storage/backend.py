"""The contract of backends: five required verbs, the rest optional. All calls block; callers thread them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from lumiliod import plugins
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import ConfigError
from lumiliod.domain.ids import RepoPath

GROUP = "lumilio.backend"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored file."""

    path: RepoPath
    stat: FileStat


@runtime_checkable
class Backend(Protocol):
    """Store originals under repository paths; nothing stored is ever replaced.

    A path that is absolute, has empty, ``.`` or ``..`` parts, holds NUL or names our own files is
    ``Shape(bad_path)`` for every verb. Errors: ``NotFound(file_missing)``, ``Permanent(unreadable)``,
    ``Unavailable`` for a store that may be back.
    """

    @property
    def atomic_no_replace(self) -> bool:
        """Whether of two simultaneous :meth:`put_new` exactly one wins."""
        ...

    @property
    def local(self) -> bool:
        """Whether files have a path on this host (:class:`LocalPaths`)."""
        ...

    def open(self, path: RepoPath) -> BinaryIO:
        """Open a stored file for reading from its start; the caller closes it."""
        ...

    def put_new(self, source: str, target: RepoPath) -> bool:
        """Store the local file ``source`` durably as ``target``.

        ``source`` is ours and stays as it is: its bytes may be shared, not copied.

        Returns:
            True when stored now; False when these very bytes were already there.

        Raises:
            Conflict: other bytes are there (``name_taken``); they stay.
        """
        ...

    def stat(self, path: RepoPath) -> FileStat:
        """Return size, time and inode of a stored file."""
        ...

    def list(self, after: RepoPath | None, limit: int) -> Sequence[Entry]:
        """Return up to ``limit`` files whose path follows ``after`` in byte order; None starts at the beginning."""
        ...

    def remove(self, path: RepoPath) -> None:
        """Remove a stored file durably; one that is not there is no error."""
        ...


@runtime_checkable
class LocalPaths(Protocol):
    """Optional: files with a path on this host."""

    def local_path(self, path: RepoPath) -> str:
        """Return the absolute path of ``path`` on this host."""
        ...


@runtime_checkable
class Links(Protocol):
    """Optional: a second name for stored bytes without copying them."""

    def link(self, source: RepoPath, target: RepoPath) -> bool:
        """Give a stored file a second name; returns and raises as :meth:`Backend.put_new`."""
        ...


def named(name: str, root: str) -> Backend:
    """Return the backend plugin ``name`` for the repository at ``root``.

    Raises:
        ConfigError: it is not installed, broken or no backend.
    """
    factory = plugins.load(GROUP, name)
    backend = factory(root) if callable(factory) else None
    if not isinstance(backend, Backend):
        raise ConfigError(f"plugin '{name}' for {GROUP} is not a backend", code="plugin_broken", group=GROUP, name=name)
    return backend
