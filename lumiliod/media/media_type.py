"""What a kind of media must be able to do: sniff bytes, inspect a file, render it.

Every function of a media type runs inside a worker process, on bytes nobody vouches for. All it has are those bytes and
Python's own folders: it opens no other file, writes none but those it is handed, and starts no program. What it says is
checked.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, Protocol, runtime_checkable

from lumiliod.domain.errors import Refused
from lumiliod.domain.media import Appearance, Identified, WebAudio, WebVideo
from lumiliod.domain.streaming import FilmSurvey, Piece
from lumiliod.media.encoders import SOFTWARE

HEAD_BYTES = 65536
"""How much of a file's beginning the sniffers see; holds IFD0 of every RAW and the ASF header."""


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file's first bytes say it is: a MIME type and the usual extension, with the dot."""

    mime_type: str
    extension: str


@dataclass(frozen=True, slots=True)
class Source:
    """One opened original, as a media type's functions see it.

    It comes as a descriptor, without a name: the worker may open no file, this one neither.
    """

    file: BinaryIO
    head: bytes
    size_bytes: int

    def content(self) -> bytes:
        """Return all of its bytes, read into one piece of memory: what a buffered file returns it has put together."""
        try:
            descriptor = self.file.fileno()
        except OSError:  # a file in memory
            self.file.seek(0)
            return self.file.read()
        content = os.pread(descriptor, self.size_bytes, 0)
        while more := os.pread(descriptor, self.size_bytes - len(content), len(content)):  # 2 GiB at a time
            content += more
        return content


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a file's header says, read without decoding its pixels or sound.

    ``tags`` are the few tags read quickly, named as exiftool names them; they stand in where
    exiftool is missing; at most 256, of at most 4096 characters.
    """

    identified: Identified
    video_codec: str | None = None
    audio_codec: str | None = None
    tags: Mapping[str, str | int | float] = field(default_factory=dict[str, str | int | float])


@dataclass(frozen=True, slots=True)
class Recipe:
    """How derivative pictures are made: long sides in pixels, format, quality 1-100, and the pixel limit."""

    sizes: tuple[int, ...]
    format: Literal["jpeg", "webp"]
    quality: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One derivative in the recipe's format: the requested size, its pixels, its bytes."""

    size: int
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendering:
    """What came of rendering a file: the derivatives, and what they look like; of a sound its waveform.

    ``waveform`` is in the binary format of the BBC's audiowaveform.
    """

    pictures: tuple[Picture, ...] = ()
    appearance: Appearance | None = None
    waveform: bytes | None = None


@dataclass(frozen=True, slots=True)
class Filmstrip:
    """A JPEG of ``columns`` frames a row, one every ``interval_s`` seconds, each ``width`` by ``height`` pixels."""

    data: bytes
    frames: int
    columns: int
    interval_s: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """How the version for the web of a film or a sound is made.

    Attributes:
        scratch: an empty file for what is not in its final order yet.
        into: an empty file for the version.
        max_pixels: more in a frame are refused.
        progress: to be told the share that is done, 0 to 1, every few seconds.
        encoder: libav's name of the encoder of H.264 to use.
    """

    scratch: BinaryIO
    into: BinaryIO
    max_pixels: int
    progress: Callable[[float], object]
    encoder: str = SOFTWARE


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of converting: no version where every browser plays the original as it is; of a film its strip."""

    version: WebVideo | None = None
    filmstrip: Filmstrip | None = None
    sound: WebAudio | None = None


@runtime_checkable
class MediaType(Protocol):
    """One kind of media; found by name through the entry points of ``lumilio.media``."""

    @property
    def name(self) -> str:
        """Return the type's name, for people and for the order among equals."""
        ...

    @property
    def order(self) -> int:
        """Return the place in the order of sniffing; lower is asked first."""
        ...

    def sniff(self, head: bytes, size: int) -> Sniffed | None:
        """Tell from the first bytes whether a file of ``size`` bytes is of this type; never raises.

        A type that raises is passed over.
        """
        ...

    def inspect(self, source: Source, sniffed: Sniffed, max_pixels: int) -> Inspected:
        """Read the header.

        Broken pixels are no reason to fail: what the header does not give stays None.

        Raises:
            Refused: ``too_large``, more than ``max_pixels``.
        """
        ...

    def render(self, source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
        """Return one upright sRGB picture per size from a single decode; none where there is nothing to see.

        Raises:
            Permanent: ``corrupt``, the pixels cannot be decoded.
            Refused: ``too_large``, decoding would exceed ``recipe.max_pixels``.
        """
        ...


@runtime_checkable
class Convertible(Protocol):
    """A media type whose files may need a version for the web."""

    def convert(self, source: Source, sniffed: Sniffed, conversion: Conversion) -> Converted:
        """Write the version into ``conversion.into``; nothing where the file plays as it is.

        Raises:
            Permanent: ``corrupt``, nothing can be decoded. Refused: ``too_large``.
        """
        ...


@runtime_checkable
class Streamable(Protocol):
    """A media type whose files can be streamed in pieces."""

    def survey(self, source: Source, sniffed: Sniffed, max_pixels: int) -> FilmSurvey:
        """Tell what must be known to stream a file.

        Raises:
            Permanent: ``corrupt``, no frame can be decoded. Refused: ``too_large``.
        """
        ...

    def cut(self, source: Source, sniffed: Sniffed, piece: Piece, conversion: Conversion) -> int:
        """Write a piece into ``conversion.into``; return its bytes. Raises as :meth:`survey`."""
        ...


def check_pixels(width: int | None, height: int | None, max_pixels: int) -> None:
    """Raise Refused (``too_large``) where a picture has more than ``max_pixels``."""
    if width and height and width * height > max_pixels:
        raise Refused(
            f"{width} x {height} pixels are more than this server decodes", code="too_large", limit_pixels=max_pixels
        )


def shown_size(width: int | None, height: int | None, orientation: int) -> tuple[int | None, int | None]:
    """Return width and height as shown: EXIF orientations 5-8 lie on their side. None for what is missing."""
    if not width or not height:
        return None, None
    return (height, width) if 5 <= orientation <= 8 else (width, height)
