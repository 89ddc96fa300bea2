"""What a file in the trash was, in a JSON file beside it: enough to put it back without the database."""

import os
from uuid import UUID

import msgspec

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import Digest, RepoPath, path_bytes, path_from_bytes, shown
from lumiliod.storage import durable, small_json
from lumiliod.storage.local import LocalBackend
from lumiliod.storage.repository import Repository
from lumiliod.storage.small_json import DigestText, Moment, SizeBytes

MAX_BYTES = 1 << 16

_ENCODER = msgspec.json.Encoder()


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Content of ``.lumilio/trash/<id>.json``.

    ``path`` is where the file was, relative to the repository's root, for people; ``path_bytes`` is the
    same exactly (base64 of the file system's bytes). Times are UTC; ``why`` is a word of
    :class:`lumiliod.domain.trash.Why`.
    """

    id: UUID
    repository_id: UUID
    asset_id: UUID
    owner_id: UUID
    digest: DigestText
    size_bytes: SizeBytes
    path: str
    path_bytes: bytes
    original_filename: str
    mime_type: str
    why: str
    deleted_at: Moment
    deleted_by: UUID | None = None
    version: int = 1

    @property
    def place(self) -> RepoPath:
        """Return where the file was; see :func:`parts` for whether that can be believed."""
        return path_from_bytes(self.path_bytes)


def paths(place: RepoPath) -> dict[str, str | bytes]:
    """Return the two fields of a note that say where a file was."""
    return {"path": shown(place), "path_bytes": path_bytes(place)}


def parts(repo: Repository, place: RepoPath) -> list[str]:
    """Return the folders and the name of a place of an original, relative to the root.

    Raises:
        Shape: it leads out of the repository or into what is our own (``bad_path``).
    """
    absolute = LocalBackend(repo.root).local_path(place)
    return absolute[len(repo.root) :].lstrip("/").split("/")


def write(repo: Repository, note: Note) -> None:
    """Write a note durably, over an older one of the same file. Blocks."""
    durable.write_file(_path(repo, note.id), _ENCODER.encode(note))


def read(repo: Repository, id: UUID) -> Note | None:  # noqa: A002  the word of the room
    """Return the note of the file ``id``; None when there is none that can be believed. Blocks."""
    try:
        note = small_json.read(_path(repo, id), Note, max_bytes=MAX_BYTES)
        if note is None:
            return None
        parts(repo, note.place)
    except (OSError, Shape):
        return None
    is_ours = (note.id, note.repository_id, note.version) == (id, repo.id, 1)
    return note if is_ours else None


def forget(repo: Repository, id: UUID) -> None:  # noqa: A002
    """Remove a note and what is left of writing it, durably: one that came back would be no row's. Blocks."""
    durable.unlink(_path(repo, id))
    durable.unlink(f"{_path(repo, id)}.tmp")
    durable.fsync_folder(repo.trash)


def digest_of(note: Note) -> Digest:
    """Return the digest of the file's bytes."""
    return Digest(note.digest)


def _path(repo: Repository, id_: UUID) -> str:
    return os.path.join(repo.trash, f"{id_}.json")
