"""The kinds of derivatives there are, how each is made now, and where each lies. Pure data."""

import re
from collections.abc import Mapping
from datetime import datetime

from lumiliod.domain.errors import Shape
from lumiliod.domain.ids import Digest
from lumiliod.domain.repositories import THUMBNAIL_SIZES

PHOTO_WEB, VIDEO_WEB, AUDIO_WEB, FILMSTRIP, WAVEFORM = "photo_web", "video_web", "audio_web", "filmstrip", "waveform"


def thumbnail(size: int) -> str:
    """Return the kind of a thumbnail; ``size`` is its long side in pixels."""
    return f"thumbnail_{size}"


FOLDERS: Mapping[str, str] = {
    **{thumbnail(size): f"assets/thumbnails/{size}" for size in THUMBNAIL_SIZES},
    PHOTO_WEB: "assets/photos/web",
    VIDEO_WEB: "assets/videos/web",
    FILMSTRIP: "assets/videos/filmstrips",
    AUDIO_WEB: "assets/audios/web",
    WAVEFORM: "assets/audios/waveforms",
}
"""The folder of each kind below ``.lumilio``."""

THUMBNAIL_RECIPE = "thumbnail-4"
"""Of pictures, what they look like in numbers, and waveforms, which are made together."""

RECIPES: Mapping[str, str] = {
    **{thumbnail(size): THUMBNAIL_RECIPE for size in THUMBNAIL_SIZES},
    PHOTO_WEB: "photo-web-1",
    VIDEO_WEB: "video-web-1",
    AUDIO_WEB: "audio-web-1",
    FILMSTRIP: "filmstrip-1",
    WAVEFORM: THUMBNAIL_RECIPE,
}
"""How each kind is made now; a recipe changes when the same original comes out differently."""

TELLING: Mapping[str, tuple[str, ...]] = {
    "thumbnails": (thumbnail(min(THUMBNAIL_SIZES)), WAVEFORM),
    "transcode": (VIDEO_WEB, FILMSTRIP, AUDIO_WEB),
    "develop": (PHOTO_WEB,),
}
"""The job kinds that make derivatives, each with those by whose recipe missing work finds what it is to make anew.

What one job makes together is told by one of them.
"""

_OUR_FOLDERS = frozenset(FOLDERS.values())
_NAME = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}\.[a-z0-9-]+\.[a-z0-9]+", re.ASCII)


def place(kind: str, digest: Digest, extension: str, recipe: str | None = None) -> str:
    """Return where a derivative lies, relative to ``.lumilio``: by the original's digest and the recipe.

    A new recipe has a new place, so that the older file serves until the new one has its row.

    Raises:
        Shape: there is no such kind, or the extension is none (``bad_derivative``).
    """
    suffix = extension.removeprefix(".").lower()
    name = f"{digest[:2]}/{digest}.{recipe or RECIPES.get(kind)}.{suffix}"
    if kind not in FOLDERS or not _NAME.fullmatch(name):
        raise Shape(f"no derivative is {kind!r} and has the extension {extension!r}", code="bad_derivative")
    return f"{FOLDERS[kind]}/{name}"


def version(recipe: str, made_at: datetime) -> str:
    """Return the name of a derivative as it was made once: what has this name never changes."""
    return f"{recipe or 'old'}-{int(made_at.timestamp() * 1000):x}"


def digest_at(path: str) -> Digest | None:
    """Return whose derivative a path, relative to ``.lumilio``, is by its name; None when it is none."""
    folder, _, name = path.rpartition("/")
    folder, _, shard = folder.rpartition("/")
    is_ours = folder in _OUR_FOLDERS and _NAME.fullmatch(f"{shard}/{name}")
    return Digest(name.partition(".")[0]) if is_ours else None
