"""Sidecars: files that describe another file, found by their names.

``a.xmp`` and ``a.jpg.xmp`` (Adobe XMP), ``a.AAE`` (Apple edits), ``a.jpg.json`` and
``a.jpg.supplemental-metadata.json`` (Google Takeout).
"""

from lumiliod.domain.ids import RepoPath

MEDIA_EXTENSIONS = frozenset(
    """
    jpg jpeg jpe png webp gif tif tiff bmp heic heif hif avif jxl jp2 psd mpo
    cr2 cr3 crw nef arw dng orf rw2 pef raf mrw srw rwl x3f 3fr iiq
    mp4 mov m4v avi mkv webm flv wmv mts m2ts 3gp mpg mpeg mp3 aac m4a flac wav ogg opus aiff aif wma
    """.split()  # noqa: SIM905 - three lines to read instead of fifty
)
_TAKEOUT = (".supplemental-metadata.json", ".json")


def is_sidecar(name: str) -> bool:
    """Tell whether ``name`` is a sidecar's."""
    lower = name.lower()
    if lower.endswith((".xmp", ".aae")):
        return len(lower) > 4
    return any(lower.endswith(suffix) and has_media_extension(lower.removesuffix(suffix)) for suffix in _TAKEOUT)


def owners(path: RepoPath) -> list[RepoPath]:
    """Return the paths a sidecar may describe, most specific first."""
    lower = path.lower()
    for suffix in (*_TAKEOUT, ".xmp", ".aae"):
        if lower.endswith(suffix):
            stem = path[: -len(suffix)]
            if has_media_extension(stem):
                return [RepoPath(stem)]
            return [RepoPath(f"{stem}.{ext}") for e in sorted(MEDIA_EXTENSIONS) for ext in (e, e.upper())]
    return []


def sidecars(path: RepoPath) -> list[RepoPath]:
    """Return the paths of sidecars that a media file at ``path`` may have."""
    stem = path.rpartition(".")[0] if has_media_extension(path) else path
    names = [path + suffix for suffix in (".xmp", ".XMP", *_TAKEOUT)]
    names += [stem + suffix for suffix in (".xmp", ".XMP", ".aae", ".AAE")]
    return [RepoPath(name) for name in dict.fromkeys(names)]


def has_media_extension(path: str) -> bool:
    """Tell whether a photo, video or audio file may be called so."""
    return path.rpartition("/")[2].rpartition(".")[2].lower() in MEDIA_EXTENSIONS
