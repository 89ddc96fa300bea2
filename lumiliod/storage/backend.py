"""The contract of backends: five required verbs, the rest optional. All calls block; callers thread them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from lumiliod import plugins
from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import ConfigError, Shape
from lumiliod.domain.ids import RepoPath, path_bytes, shown

GROUP = "lumilio.backend"

OWN = frozenset({".lumilio", ".lumiliorepo"})
"""First parts of paths that are ours, not originals'."""

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://.+")


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

    @property
    def flaky(self) -> bool:
        """Whether any call may fail or time out and is worth repeating, as over networks."""
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


@runtime_checkable
class Presigned(Protocol):
    """Optional: whoever holds a URL may read one file for a while, without our credentials."""

    def presign(self, path: RepoPath, expires_s: int) -> str:
        """Return a URL that answers GET with the bytes of ``path``; nothing is asked of the store."""
        ...


def parts_of(path: RepoPath) -> list[str]:
    """Return the parts of a path that may name an original.

    Raises:
        Shape: none may lie there (``bad_path``); see :class:`Backend`.
    """
    try:
        path_bytes(path)
    except UnicodeEncodeError as error:
        raise Shape("the path holds characters no file system can", code="bad_path") from error
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\0" in path or parts[0] in OWN:
        raise Shape(f"{shown(path)!r} is no place for an original", code="bad_path")
    return parts


def at(location: str, options: Mapping[str, str] | None = None) -> Backend:
    """Return the backend of a location, which need not be reachable now.

    Args:
        location: an absolute path (``local``), or a URL whose scheme names the plugin (``s3://bucket/prefix``).
        options: settings of the plugin, such as ``endpoint``; ``local`` has none.

    Raises:
        ConfigError: it is neither (``bad_location``), an option is unknown (``bad_option``), or as :func:`named`.
    """
    if location.startswith("/"):
        if options:
            raise ConfigError(f"a folder has no options: {', '.join(sorted(options))}", code="bad_option")
        return named("local", location)
    if found := _SCHEME.fullmatch(location):
        return named(found[1], location, options)
    raise ConfigError(f"'{location}' is neither an absolute path nor a URL", code="bad_location")


def named(name: str, location: str, options: Mapping[str, str] | None = None) -> Backend:
    """Return the backend plugin ``name`` for a location: the root of a repository, or what the plugin understands.

    A plugin is a callable of the location and, if there are any, its options.

    Raises:
        ConfigError: it is not installed, broken or no backend.
    """
    factory = plugins.load(GROUP, name)
    backend: object = None
    if callable(factory):
        backend = factory(location, options) if options else factory(location)
    if not isinstance(backend, Backend):
        raise ConfigError(f"plugin '{name}' for {GROUP} is not a backend", code="plugin_broken", group=GROUP, name=name)
    return backend
