"""One prefix of a bucket: what is asked about single objects, and what its answers mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore import exceptions

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import NotFound, Permanent, Unavailable
from lumiliod.domain.ids import RepoPath, shown
from lumiliod.storage import s3_errors, s3_keys
from lumiliod.storage.s3_client import Opened

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta


class TakenError(Exception):
    """Something stands where nothing may be replaced."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """An opened location, named as the person named it."""

    location: str
    opened: Opened

    def key(self, path: RepoPath) -> str:
        """Return the key of a path; see :func:`~lumiliod.storage.s3_keys.key_of`."""
        return s3_keys.key_of(self.opened.prefix, path)

    def head(self, path: RepoPath, *, writing: bool = False) -> "ObjectMeta":
        """Return what is stored under ``path``; errors as those of a backend, of one that writes if ``writing``."""
        key = self.key(path)
        with self.reaching("look at", path, writing=writing):
            return obstore.head(self.opened.store, key)

    def read(self, path: RepoPath, found: "ObjectMeta", start: int, end: int, *, writing: bool = False) -> bytes:
        """Return the bytes [start, end) of the object as it was ``found``.

        Raises:
            Unavailable: it is another by now (``unstable``), or the answer ends early.
        """
        options: GetOptions = {"range": (start, end)}
        if found["e_tag"] is not None:
            options["if_match"] = found["e_tag"]
        with self.reaching("read", path, writing=writing):
            got = obstore.get(self.opened.store, self.key(path), options=options)
            if _state_of(got.meta) != _state_of(found):  # a server may not know If-Match
                message = f"{shown(path)} was replaced while it was read"
                raise Unavailable(message, code="unstable", after_s=s3_errors.UNSTABLE_AFTER_S)
            data = got.bytes().to_bytes()
        if len(data) != end - start:
            raise s3_errors.senseless(f"{shown(path)} ends {end - start - len(data)} bytes early")
        return data

    @contextmanager
    def reaching(self, action: str, name: str, *, writing: bool = False) -> Iterator[None]:
        """Translate errors, as :func:`s3_errors.translated`; what stands in the way is :class:`TakenError`.

        A missing bucket and refused keys look like a missing and an unreadable file: that is believed only
        of a store that can be listed.
        """
        try:
            with s3_errors.translated(action, name, writing=writing):
                try:
                    yield
                except exceptions.AlreadyExistsError as error:
                    raise TakenError from error
        except (NotFound, Permanent, Unavailable) as error:
            if isinstance(error.__cause__, Exception) and error.code in {"file_missing", "unreadable", "not_writable"}:
                self.reach()
            raise

    def reach(self) -> None:
        """Raise ``Unavailable(store_unavailable)`` unless the store lists what is below the prefix."""
        try:
            for _ in obstore.list(self.opened.store, self.opened.prefix.rstrip("/") or None, chunk_size=1):
                return
        except (exceptions.BaseError, FileNotFoundError) as error:
            message = s3_errors.as_ours(error, "list", self.location).message
            raise Unavailable(message, code="store_unavailable", after_s=s3_errors.AWAY_AFTER_S) from error


def stat_of(found: "ObjectMeta") -> FileStat:
    """Return the part we keep: whole seconds, for a HEAD knows no more than that, and no inode."""
    return FileStat(size_bytes=found["size"], mtime_ns=_seconds(found) * 1_000_000_000, inode=0)


def _state_of(found: "ObjectMeta") -> tuple[int, str | int]:
    """Return what tells this state of an object from others."""
    return found["size"], found["e_tag"] or _seconds(found)


def _seconds(found: "ObjectMeta") -> int:
    return int(found["last_modified"].timestamp())
