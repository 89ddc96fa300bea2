"""Films in pieces, as players of HLS fetch them: which sizes there are, where each piece begins, the playlists.

Pure rules (RFC 8216). Times are seconds from a film's beginning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lumiliod.domain.errors import NotFound

PIECE_S = 6.0
"""How long a piece is; the last one is what is left."""
LEAST_S = 1.0
"""What would be left of less belongs to the piece before."""
MAX_PIECES = 30_000
"""Two days; a header that says more is not believed."""
AUDIO_BITS_PER_S = 160_000


@dataclass(frozen=True, slots=True)
class Rendition:
    """A size that films are streamed in: pixels on the sides, whichever way it lies, bits a second at most.

    ``level`` is that of H.264 (ITU-T H.264, table A-1), enough for sixty frames a second.
    """

    short_side: int
    long_side: int
    bits_per_s: int
    level: str

    @property
    def codec(self) -> str:
        """Return the codec as RFC 6381 names it: H.264, high profile."""
        return f"avc1.6400{round(float(self.level) * 10):02X}"


RENDITIONS: Mapping[int, Rendition] = {
    480: Rendition(480, 854, 1_500_000, "3.1"),
    720: Rendition(720, 1280, 3_000_000, "3.2"),
    1080: Rendition(1080, 1920, 6_000_000, "4.2"),
}
"""By the name they have in addresses."""


@dataclass(frozen=True, slots=True)
class FilmSurvey:
    """What must be known of a film to stream it: seconds, frames a second, its size in each rendition it has."""

    duration_s: float
    rate: float
    has_sound: bool
    sizes: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a film to be made: of a rendition, from one time up to another. Without a number: its beginning only.

    That beginning holds what the pieces of a rendition have in common, and nothing to see.
    """

    rendition: int
    number: int | None = None
    from_s: float = 0.0
    to_s: float = 0.0
    is_last: bool = False


def offered(width: int, height: int) -> list[int]:
    """Return the renditions of a film of this size as shown: the smallest, and those it does not fit into before."""
    short_side, long_side = sorted((width, height))
    names: list[int] = []
    for name, rendition in RENDITIONS.items():
        names.append(name)
        if short_side <= rendition.short_side and long_side <= rendition.long_side:
            break
    return names


def count(duration_s: float) -> int:
    """Return in how many pieces a film is streamed.

    Raises:
        NotFound: it has no length, or one that is not believed (``video_missing``).
    """
    if not 0 < duration_s < MAX_PIECES * PIECE_S:
        raise NotFound("nobody knows how long this film is", code="video_missing")
    return max(1, int((duration_s + PIECE_S - LEAST_S) // PIECE_S))


def piece(survey: FilmSurvey, rendition: int, number: int) -> Piece:
    """Return one piece, counted from 0.

    Raises:
        NotFound: there is no such rendition of it (``rendition_missing``), or it is shorter (``segment_missing``).
    """
    check(survey, rendition)
    pieces = count(survey.duration_s)
    if number >= pieces:
        raise NotFound(f"this film has {pieces} segments", code="segment_missing")
    is_last = number == pieces - 1
    to_s = survey.duration_s if is_last else (number + 1) * PIECE_S
    return Piece(rendition, number, number * PIECE_S, to_s, is_last)


def check(survey: FilmSurvey, rendition: int) -> None:
    """Make sure that a film has a rendition.

    Raises:
        NotFound: it has not (``rendition_missing``).
    """
    if rendition not in survey.sizes:
        known = ", ".join(str(name) for name in survey.sizes)
        raise NotFound(f"this film is streamed as {known}", code="rendition_missing")


def master(survey: FilmSurvey) -> str:
    """Return the playlist of the renditions, the smallest first, which players begin with."""
    count(survey.duration_s)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for name, (width, height) in survey.sizes.items():
        rendition = RENDITIONS[name]
        bits_per_s = rendition.bits_per_s + (AUDIO_BITS_PER_S if survey.has_sound else 0)
        codecs = f"{rendition.codec},mp4a.40.2" if survey.has_sound else rendition.codec
        told = f'BANDWIDTH={bits_per_s},CODECS="{codecs}",RESOLUTION={width}x{height},FRAME-RATE={survey.rate:.3f}'
        lines += [f"#EXT-X-STREAM-INF:{told}", f"{name}/index.m3u8"]
    return "\n".join(lines) + "\n"


def index(survey: FilmSurvey, rendition: int) -> str:
    """Return the playlist of the pieces of a rendition.

    Raises:
        NotFound: there is no such rendition (``rendition_missing``).
    """
    check(survey, rendition)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{round(PIECE_S + LEAST_S)}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-MAP:URI="init.mp4"',
    ]
    for number in range(count(survey.duration_s)):
        one = piece(survey, rendition, number)
        lines += [f"#EXTINF:{one.to_s - one.from_s:.6f},", f"{number}.m4s"]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"
