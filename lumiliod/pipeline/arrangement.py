"""Where a layout would have the files of an inbox: which move, under which name, and what stays. Pure."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from lumiliod.db.relayout import InboxFile
from lumiliod.db.relayout_journal import NewMove
from lumiliod.domain.ids import Digest, RepoPath, path_from_bytes
from lumiliod.domain.naming import candidates, digest_uuid, split_name
from lumiliod.domain.repositories import DuplicateNames
from lumiliod.domain.sidecars import sidecars
from lumiliod.storage.layout import Layout, Placing
from lumiliod.storage.originals import first_choice
from lumiliod.storage.repository import Repository

MOVABLE = frozenset({"asset", "duplicate"})
NO_SIDECAR = MOVABLE | {"pending", "trashed"}

_NEVER_CUT = 40
"""Characters of a path that no policy cuts to make room for its suffix."""

_NUMBER = re.compile(r" \([1-9]\d{0,2}\)")

_EXTENSIONS = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/apng": ".png", "image/gif": ".gif", "image/webp": ".webp",
    "image/tiff": ".tif", "image/x-tiff-big": ".tif", "image/bmp": ".bmp", "image/jxl": ".jxl", "image/jp2": ".jp2",
    "image/heic": ".heic", "image/heif": ".heif", "image/avif": ".avif", "video/mp4": ".mp4",
    "video/quicktime": ".mov", "video/3gpp": ".3gp", "video/3gpp2": ".3g2", "video/webm": ".webm",
    "video/x-matroska": ".mkv", "video/x-msvideo": ".avi", "video/x-flv": ".flv", "video/x-ms-wmv": ".wmv",
    "video/ogg": ".ogv", "video/mpeg": ".mpg", "video/m2ts": ".m2ts", "audio/mpeg": ".mp3", "audio/mp4": ".m4a",
    "audio/aac": ".aac", "audio/flac": ".flac", "audio/x-wav": ".wav", "audio/x-aiff": ".aiff",
    "audio/x-ms-wma": ".wma", "audio/x-matroska": ".mka", "audio/webm": ".weba", "audio/ogg": ".ogg",
    "audio/opus": ".opus",
}  # fmt: skip
"""The usual extension of a content, as ingest names it; RAW and what is not here keeps its own."""


@dataclass(frozen=True, slots=True)
class Collision:
    """A name that two files want: ``merged`` when both have the same bytes and one file is kept, else renamed."""

    from_path: RepoPath
    wanted: RepoPath
    to_path: RepoPath
    merged: bool


@dataclass
class Arrangement:
    """What bringing an inbox into a layout means.

    ``staying`` counts files that do not move by why: ``in_place``, ``missing``, or their outcome. ``folders``
    maps the folders that lose files to the bytes of these.
    """

    moves: list[NewMove] = field(default_factory=list[NewMove])
    collisions: list[Collision] = field(default_factory=list[Collision])
    staying: Counter[str] = field(default_factory=Counter[str])
    folders: Counter[str] = field(default_factory=Counter[str])
    size_bytes: int = 0
    sidecars: int = 0


def arrange(
    repo: Repository, layout: Layout, files: Sequence[InboxFile], leave: Collection[UUID] = frozenset()
) -> Arrangement:
    """Find a place for every original and further copy of an inbox, and for the sidecars beside them.

    Args:
        repo: whose settings say how names are kept and made.
        layout: decides.
        files: of the whole inbox, originals first; a name that any of them has is taken.
        leave: records that are not moved whatever they are.
    """
    found = Arrangement()
    paths = {path_from_bytes(file.path): file for file in files}
    taken: dict[RepoPath, UUID | None] = {path: file.asset_id for path, file in paths.items()}
    policy = repo.marker.local_settings.handle_duplicate_filenames
    companions = {path for path, file in paths.items() if file.outcome not in NO_SIDECAR and not file.is_missing}
    stay = set(companions)
    for path, file in paths.items():
        if path in companions or file.id in leave:
            continue
        if file.is_missing or file.outcome not in MOVABLE:
            found.staying["missing" if file.is_missing else file.outcome] += 1
            continue
        wanted, digest = wanted_place(repo, layout, file), Digest(file.digest or "")
        if _is_place(path, wanted, policy, digest):
            found.staying["in_place"] += 1
            continue
        own = (path, file.asset_id)
        target = next(name for name in candidates(wanted, policy, digest) if taken.get(name, path) in own)
        if target == path:
            found.staying["in_place"] += 1
            continue
        if target != wanted or target in taken:
            found.collisions.append(Collision(path, wanted, target, merged=target in taken))
        taken[target] = file.asset_id
        _note(found, NewMove(file.id, None, file.asset_id, digest, path, target, wanted), file)
        for companion in _beside(path, stay):
            stay.discard(companion)
            if paths[companion].id in leave:
                continue
            place = following(path, target, companion)
            name = next(one for one in candidates(place, "rename", digest) if one not in taken)
            taken[name] = None
            found.sidecars += 1
            _note(found, NewMove(paths[companion].id, file.id, None, None, companion, name, place), paths[companion])
    found.staying.update(paths[path].outcome for path in stay)
    return found


def wanted_place(repo: Repository, layout: Layout, file: InboxFile) -> RepoPath:
    """Return what ``layout`` says of an original or a further copy, which have a digest and a time."""
    assert file.digest is not None
    assert file.taken_at_local is not None
    own_name = path_from_bytes(file.path).rpartition("/")[2]
    filename = file.original_filename or own_name
    if not _is_text(own_name):
        filename = own_name  # what people are shown of such a name is not the name
    extension = _EXTENSIONS.get(file.mime_type or "") or split_name(filename)[1].lower() or split_name(own_name)[1]
    return first_choice(repo, layout, Placing(filename, extension, Digest(file.digest), file.taken_at_local))


def following(owner_from: RepoPath, owner_to: RepoPath, sidecar: RepoPath) -> RepoPath:
    """Return the name of a sidecar beside an original that goes from one name to another."""
    if sidecar.startswith(owner_from):
        return RepoPath(owner_to + sidecar[len(owner_from) :])
    return RepoPath(_stem(owner_to) + sidecar[len(_stem(owner_from)) :])


def _beside(path: RepoPath, companions: set[RepoPath]) -> Iterator[RepoPath]:
    if companions:
        yield from (name for name in sidecars(path) if name in companions)


def _note(found: Arrangement, move: NewMove, file: InboxFile) -> None:
    found.moves.append(move)
    found.size_bytes += file.size_bytes
    found.folders[move.from_path.rpartition("/")[0]] += file.size_bytes


def _is_place(path: RepoPath, wanted: RepoPath, policy: DuplicateNames, digest: Digest) -> bool:
    """Tell whether ``path`` is what a layout wants, or what the policy makes of it beside other files."""
    if path == wanted:
        return True
    stem, extension = split_name(path)
    wanted_stem, wanted_extension = split_name(wanted)
    if extension != wanted_extension or not stem.startswith(wanted_stem[:_NEVER_CUT]):
        return False
    if len(wanted_stem) <= _NEVER_CUT:  # a thousand candidates need not be made of most names
        rest = stem[len(wanted_stem) :]
        return rest == f"_{digest_uuid(digest)}" or (policy != "uuid" and _NUMBER.fullmatch(rest) is not None)
    return any(path == name for name in candidates(wanted, policy, digest))


def _stem(path: RepoPath) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + split_name(name)[0]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
