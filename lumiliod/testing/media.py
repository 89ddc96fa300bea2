"""What every media type has to keep. A plugin's own test::

    @pytest.mark.parametrize("check", media.CHECKS, ids=lambda check: check.__name__)
    def test_media_type(check):
        check("my_package:MyType", SAMPLE)

``my_package:MyType`` is what its entry point says. Every check looks at one sample of its files, most of them through a
worker as the daemon's: it must not need more than such a worker has.
"""

import io
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeVar

import trio

from lumiliod.domain.errors import LumilioError
from lumiliod.domain.media import AssetType, Identified
from lumiliod.media import jpeg
from lumiliod.media.media import Media, builtin_types, opened
from lumiliod.media.media_type import HEAD_BYTES, MediaType, Picture, Recipe, Source
from lumiliod.media.photo import render_jpeg
from lumiliod.media.settings import MediaSettings

T = TypeVar("T")

SIZES = (1024, 300, 150, 32)
MAX_PIXELS = 100_000_000
CUTS = [share / 20 for share in range(20)]
FLIPS = 40
DURATION_WITHIN_S = 0.1
SIDE_WITHIN_PX = 2
DECLARED = {"corrupt", "unsupported", "too_large", "empty"}
"""How a broken file may end; ``poison``, ``timeout`` and the like say that it ended its worker, or held it up."""

NO_MEDIA = (
    b"",
    b"\0" * 4096,
    b"\xff" * 4096,
    b"Dear diary,\n" * 100,
    b"<!DOCTYPE html><html><body>x</body></html>",
    b'{"a": [1, 2, 3]}',
    b"\x7fELF\x02\x01\x01" + bytes(100),
    b"MZ" + bytes(100),
    b"PK\x03\x04" + bytes(100),
    b"%PDF-1.7\n",
    b"SQLite format 3\0" + bytes(100),
    b"\x1f\x8b\x08" + bytes(100),
    b"#!/bin/sh\n",
)
"""Beginnings of files that are no photo, film or sound."""
OTHER_MEDIA = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"GIF89a\x01\0\x01\0",
    b"RIFF\x10\0\0\0WEBPVP8 ",
    b"RIFF\x10\0\0\0WAVEfmt ",
    b"RIFF\x10\0\0\0AVI LIST",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    b"\0\0\0\x18ftypmp42\0\0\0\0isommp42",
    b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    b"\x1aE\xdf\xa3\x9fB\x86\x81\x01",
    b"OggS\0\x02" + bytes(22) + b"\x01vorbis",
    b"fLaC\0\0\0\x22",
    b"ID3\x04\0\0\0\0\0\x0a" + bytes(20),
)
"""Beginnings of files that are our own types'."""


@dataclass(frozen=True)
class Sample:
    """A whole file of a type, and what is to be said of it; pixels are as shown."""

    content: bytes
    mime_type: str
    type: AssetType = AssetType.PHOTO
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None


def is_a_media_type(target: str, _sample: Sample) -> None:
    """It has all that the Protocol names; its name can be shown."""
    media_type = _made(target)
    assert isinstance(media_type, MediaType)
    assert isinstance(media_type.order, int)
    assert media_type.name.isidentifier()


def knows_its_own(target: str, sample: Sample) -> None:
    """Its files are known by their bytes, with type, size and length, from any beginning without an error."""
    media_type, size = _made(target), len(sample.content)
    sniffed = media_type.sniff(sample.content[:HEAD_BYTES], size)
    assert sniffed is not None
    assert sniffed == media_type.sniff(sample.content[:HEAD_BYTES], size)
    for length in range(min(size, 300)):
        media_type.sniff(sample.content[:length], length)

    async def identify(media: Media, folder: Path) -> Identified:
        return await media.identify(_written(folder, sample.content))

    found = _with_media(target, identify)
    assert (found.type, found.mime_type) == (sample.type, sample.mime_type)
    assert (found.width, found.height) == (sample.width, sample.height)
    if sample.duration_s is None:
        assert found.duration_s is None
    else:
        assert found.duration_s is not None
        assert abs(found.duration_s - sample.duration_s) <= DURATION_WITHIN_S


def claims_nothing_else(target: str, _sample: Sample) -> None:
    """What is no media is not its own, nor noise, nor, of a plugin, what our own types know."""
    media_type = _made(target)
    noise = [random.Random(seed).randbytes(4096) for seed in range(200)]  # noqa: S311  # the same every time
    others = () if target in builtin_types() else OTHER_MEDIA
    for head in (*NO_MEDIA, *noise, *others):
        assert media_type.sniff(head, len(head)) is None, head[:16]


def draws_every_size(target: str, sample: Sample) -> None:
    """One upright JPEG per size, in the proportions of the file, none enlarged, that can be decoded."""

    async def draw(media: Media, folder: Path) -> tuple[Picture, ...]:
        return (await media.thumbnails(_written(folder, sample.content), SIZES)).pictures

    def look(pictures: tuple[Picture, ...]) -> None:
        assert sorted(picture.size for picture in pictures) == sorted(SIZES)
        for picture in pictures:
            data = picture.data
            file = io.BytesIO(data)
            header = jpeg.read_header(file)
            assert (header.width, header.height, header.components) == (picture.width, picture.height, 3)
            render_jpeg(Source(file, data[:HEAD_BYTES], len(data)), Recipe((picture.size,), "jpeg", 80, MAX_PIXELS))
            assert max(picture.width, picture.height) <= picture.size
            if sample.width and sample.height:
                scale = min(1.0, picture.size / max(sample.width, sample.height))
                assert abs(picture.width - sample.width * scale) <= SIDE_WITHIN_PX
                assert abs(picture.height - sample.height * scale) <= SIDE_WITHIN_PX

    _with_media(target, draw, look)


def is_deterministic(target: str, sample: Sample) -> None:
    """The same bytes have the same identity and the same pictures, whichever worker looks at them."""

    async def look(media: Media, folder: Path) -> tuple[Identified, list[bytes]]:
        path = _written(folder, sample.content)
        pictures = (await media.thumbnails(path)).pictures
        return await media.identify(path), [picture.data for picture in pictures]

    assert _with_media(target, look) == _with_media(target, look)


def survives_damage(target: str, sample: Sample) -> None:
    """A file that was cut, or of which bits were turned, ends in a picture or in an error that is declared."""
    damaged = [sample.content[: int(len(sample.content) * share)] for share in CUTS]
    rng = random.Random(1)  # noqa: S311  # the same every time
    for _ in range(FLIPS):
        content = bytearray(sample.content)
        for _ in range(rng.choice((1, 8))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        damaged.append(bytes(content))

    async def look(media: Media, folder: Path) -> set[str]:
        codes = set[str]()
        for content in damaged:
            path = _written(folder, content)
            try:
                await media.identify(path)
                await media.thumbnails(path)
            except LumilioError as error:
                codes.add(error.code)
        return codes

    assert _with_media(target, look) <= DECLARED


def keeps_to_the_limit(target: str, sample: Sample) -> None:
    """A picture or film of more pixels than are allowed is refused, before it is decoded."""
    if not sample.width or not sample.height:
        return

    async def identify(media: Media, folder: Path) -> str:
        try:
            await media.identify(_written(folder, sample.content))
        except LumilioError as error:
            return error.code
        return "identified"

    assert _with_media(target, identify, max_pixels=sample.width * sample.height - 1) == "too_large"
    assert _with_media(target, identify, max_pixels=sample.width * sample.height) == "identified"


def touches_nothing_else(target: str, sample: Sample) -> None:
    """All it needs is the open file, which has no name any more: it opens no other, and starts and writes nothing."""
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-m", "lumiliod.testing.watched", target],
        input=sample.content,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout == b"", done.stdout.decode(errors="replace")


CHECKS: tuple[Callable[[str, Sample], None], ...] = (
    is_a_media_type,
    knows_its_own,
    claims_nothing_else,
    draws_every_size,
    is_deterministic,
    survives_damage,
    keeps_to_the_limit,
    touches_nothing_else,
)


def _made(target: str) -> MediaType:
    media_type = resolve_name(target)()
    assert isinstance(media_type, MediaType), f"{target} gives no media type"
    return media_type


def _written(folder: Path, content: bytes) -> str:
    path = folder / "sample"
    path.write_bytes(content)
    return str(path)


def _with_media(
    target: str,
    act: Callable[[Media, Path], Awaitable[T]],
    look: Callable[[T], None] | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> T:
    """Return what ``act`` does with a media room of this one type, in a folder that exists for ``look``, too."""

    async def main() -> T:
        settings = MediaSettings(workers=1, max_pixels=max_pixels)
        async with opened(settings, [target]) as media:
            assert media.left_out is None
            result = await act(media, Path(folder))
            if look is not None:
                look(result)
            return result

    with tempfile.TemporaryDirectory() as folder:
        return trio.run(main)
