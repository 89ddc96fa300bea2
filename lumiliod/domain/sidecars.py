"""Sidecars: files that describe another file, found by their names.

``a.xmp`` and ``a.jpg.xmp`` (Adobe XMP), ``a.AAE`` (Apple edits), ``a.jpg.json`` and
``a.jpg.supplemental-metadata.json`` (Google Takeout).

Whose a sidecar is, is told by the names in its folder alone, never by what came first:

1. One with a whole name (``a.jpg.xmp``, as digiKam and darktable write them) is that file's and nobody else's.
2. One with a stem (``a.xmp``) is, of the files of this stem, the RAW's (Adobe writes it for RAW alone), a native one
   before a DNG; where there is none a JPEG's, then another photo's, a film's, a sound's. ``a.AAE`` is a JPEG's or
   HEIF's before anything else's, a RAW's last.
3. The content of one XMP is read for a file: that with its whole name, else that with its stem. Others are shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lumiliod.domain.ids import AssetId, RepoPath, shown
from lumiliod.domain.media import AssetType
from lumiliod.domain.stacks import STILL_TYPES, is_raw

MEDIA_EXTENSIONS = frozenset(
    """
    jpg jpeg jpe png webp gif tif tiff bmp heic heif hif avif jxl jp2 psd mpo
    cr2 cr3 crw nef arw dng orf rw2 pef raf mrw srw rwl x3f 3fr iiq
    mp4 mov m4v avi mkv webm flv wmv mts m2ts 3gp mpg mpeg mp3 aac m4a flac wav ogg opus aiff aif wma
    """.split()  # noqa: SIM905 - three lines to read instead of fifty
)
_TAKEOUT = (".supplemental-metadata.json", ".json")


@dataclass(frozen=True, slots=True)
class Described:
    """A file of an asset that a sidecar may describe."""

    path: RepoPath
    asset_id: AssetId
    type: AssetType
    mime_type: str


@dataclass(frozen=True, slots=True)
class Owned:
    """Whose a sidecar is, and why in words."""

    by: Described
    why: str


def is_sidecar(name: str) -> bool:
    """Tell whether ``name`` is a sidecar's."""
    lower = name.lower()
    if lower.endswith((".xmp", ".aae")):
        return len(lower) > 4
    return any(lower.endswith(suffix) and has_media_extension(lower.removesuffix(suffix)) for suffix in _TAKEOUT)


def owners(path: RepoPath) -> list[RepoPath]:
    """Return the paths a sidecar may describe, in no order that counts."""
    stem = _described_name(path)
    if stem is None:
        return []
    if has_media_extension(stem):
        return [RepoPath(stem)]
    spelled = (one for e in sorted(MEDIA_EXTENSIONS) for one in dict.fromkeys((e, e.upper(), e.capitalize())))
    return [RepoPath(f"{stem}.{one}") for one in spelled]


def sidecars(path: RepoPath) -> list[RepoPath]:
    """Return the paths of sidecars that a media file at ``path`` may have."""
    stem = path.rpartition(".")[0] if has_media_extension(path) else path
    names = [path + suffix for suffix in (".xmp", ".XMP", *_TAKEOUT)]
    names += [stem + suffix for suffix in (".xmp", ".XMP", ".aae", ".AAE")]
    return [RepoPath(name) for name in dict.fromkeys(names)]


def owner(sidecar: RepoPath, files: Iterable[Described]) -> Owned | None:
    """Return whose a sidecar is among ``files``, whatever their order; None where it is nobody's."""
    names = set(owners(sidecar))
    candidates = sorted((file for file in files if file.path in names), key=lambda file: _rank(sidecar, file))
    if not candidates:
        return None
    first = candidates[0]
    if len(names) == 1:
        return Owned(first, f"named after {_name(first.path)}")
    why = f"same name as {_name(first.path)}"
    if len(candidates) > 1:
        others = " and ".join(_name(file.path) for file in candidates[1:])
        why += f", the {'RAW' if is_raw(first.mime_type) else 'first'} of several; {others} has none of this name"
    return Owned(first, why)


def read_first(path: RepoPath, found: Sequence[RepoPath]) -> RepoPath | None:
    """Return the XMP whose content counts for the file at ``path``, of the sidecars that are its own."""
    written = sorted((one for one in found if one.lower().endswith(".xmp")), key=lambda one: (not _is_whole(one), one))
    return next((one for one in written if path in owners(one)), None)


def has_media_extension(path: str) -> bool:
    """Tell whether a photo, video or audio file may be called so."""
    return path.rpartition("/")[2].rpartition(".")[2].lower() in MEDIA_EXTENSIONS


def _described_name(path: str) -> str | None:
    lower = path.lower()
    for suffix in (*_TAKEOUT, ".xmp", ".aae"):
        if lower.endswith(suffix):
            return path[: -len(suffix)]
    return None


def _is_whole(path: str) -> bool:
    return has_media_extension(_described_name(path) or "")


def _rank(sidecar: RepoPath, file: Described) -> tuple[int, int, str]:
    """Return where a file stands among those of one stem; the smallest has the sidecar."""
    form = STILL_TYPES.index(file.mime_type) if file.mime_type in STILL_TYPES else len(STILL_TYPES)
    if file.type is not AssetType.PHOTO:
        kind = 2 if file.type is AssetType.VIDEO else 3
    elif is_raw(file.mime_type):
        kind = 4 if sidecar.lower().endswith(".aae") else 0
        form = int(file.mime_type == "image/x-adobe-dng")
    else:
        kind = 1
    return kind, form, file.path


def _name(path: str) -> str:
    return shown(path.rpartition("/")[2])
