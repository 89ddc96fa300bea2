"""The kinds of derivatives there are, and where each lies. Pure data."""

from collections.abc import Mapping

from lumiliod.domain.repositories import THUMBNAIL_SIZES

VIDEO_WEB, FILMSTRIP, WAVEFORM = "video_web", "filmstrip", "waveform"


def thumbnail(size: int) -> str:
    """Return the kind of a thumbnail; ``size`` is its long side in pixels."""
    return f"thumbnail_{size}"


FOLDERS: Mapping[str, str] = {
    **{thumbnail(size): f"assets/thumbnails/{size}" for size in THUMBNAIL_SIZES},
    VIDEO_WEB: "assets/videos/web",
    FILMSTRIP: "assets/videos/filmstrips",
    WAVEFORM: "assets/audios/waveforms",
}
"""The folder of each kind below ``.lumilio``."""
