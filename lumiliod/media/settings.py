"""How much of the machine the media room may take, and what it makes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class MediaSettings:
    """How much machine the media room may take at most; ``workers`` 0 means one per core.

    :func:`capacity.planned` says what of it, where memory is short. Beside them ``conversions`` run, and as many
    pieces of films for streaming are made, for which somebody waits.
    """

    workers: int = 0
    memory_limit_mb: int = 2048
    wall_limit_s: float = 60.0
    max_pixels: int = 1_000_000_000
    thumbnail_format: Literal["jpeg", "webp"] = "jpeg"
    thumbnail_quality: int = 80
    exiftool: str = "exiftool"
    conversions: int = 1
    developments: int = 1
    video_encoder: str = "auto"
    """``auto``, ``software``, or libav's name of a hardware encoder."""
