from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from PIL import Image

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import AssetType, Metadata, TzSource
from lumiliod.media.media import Media

FRAMES, RATE = 100, 25


def film(path: Path, *, rotation: int = 0, aspect: Fraction | None = None) -> None:
    """Four seconds: red for the first 8 %, then green above blue."""
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = "2024-05-06T07:08:09.000000Z"
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        stream.codec_context.gop_size = 10
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(FRAMES):
            pixels = np.zeros((160, 320, 3), np.uint8)
            if number < FRAMES * 8 // 100:
                pixels[:] = (255, 0, 0)
            else:
                pixels[:80], pixels[80:] = (0, 255, 0), (0, 0, 255)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def sound(path: Path, codec: str, length_s: int = 2) -> None:
    formats = {".mka": "matroska", ".opus": "ogg"}
    rate = 48000
    with av.open(str(path), "w", format=formats.get(path.suffix)) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        samples = np.zeros((1, rate * length_s), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".3gp"])
async def test_poster_and_numbers(suffix: str, media: Media, tmp_path: Path) -> None:
    path = tmp_path / f"film{suffix}"
    film(path)
    identified = await media.identify(str(path))
    assert (identified.type, identified.width, identified.height) == (AssetType.VIDEO, 320, 160)
    assert identified.duration_s == pytest.approx(4, abs=0.1)
    pictures = (await media.thumbnails(str(path), (150,))).pictures
    with Image.open(BytesIO(pictures[0].data)) as image:
        assert image.size == (150, 75)
        above, below = image.getpixel((75, 10)), image.getpixel((75, 65))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[1] > 180 > above[0]
    assert below[2] > 180 > below[0]
    [metadata] = await media.metadata([(str(path), identified)])
    assert isinstance(metadata, Metadata)
    assert (metadata.width, metadata.video_codec, metadata.audio_codec) == (320, "mpeg4", None)


async def test_turned_film_is_shown_upright(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "turned.mp4"
    film(path, rotation=90)
    identified = await media.identify(str(path))
    assert (identified.width, identified.height) == (160, 320)
    [picture] = (await media.thumbnails(str(path), (300,))).pictures
    assert (picture.width, picture.height) == (150, 300)
    with Image.open(BytesIO(picture.data)) as image:
        left, right = image.getpixel((20, 150)), image.getpixel((130, 150))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[1] > 180  # turned counter-clockwise, the upper half is at the left
    assert right[2] > 180


async def test_anamorphic_film_is_widened(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "wide.mkv"
    film(path, aspect=Fraction(2, 1))
    identified = await media.identify(str(path))
    assert (identified.width, identified.height) == (640, 160)
    [picture] = (await media.thumbnails(str(path), (300,))).pictures
    assert (picture.width, picture.height) == (300, 75)


async def test_container_time_is_utc(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    film(path)
    taken = (await media.identify(str(path))).taken
    assert taken is not None
    assert (taken.utc.isoformat(), taken.tz_source) == ("2024-05-06T07:08:09+00:00", TzSource.UTC)
    [metadata] = await media.metadata([(str(path), "video/mp4")])
    assert isinstance(metadata, Metadata)
    assert metadata.taken == taken


@pytest.mark.parametrize(
    ("suffix", "codec", "mime_type"),
    [
        (".wav", "pcm_s16le", "audio/x-wav"), (".flac", "flac", "audio/flac"), (".mp4", "aac", "audio/mp4"),
        (".mka", "aac", "audio/x-matroska"), (".aac", "aac", "audio/aac"),
        (".aiff", "pcm_s16be", "audio/x-aiff"), (".mp3", "libmp3lame", "audio/mpeg"), (".opus", "libopus", "audio/ogg"),
    ],
)  # fmt: skip
async def test_sound(suffix: str, codec: str, mime_type: str, media: Media, tmp_path: Path) -> None:
    path = tmp_path / f"sound{suffix}"
    sound(path, codec)
    identified = await media.identify(str(path))
    assert (identified.type, identified.mime_type) == (AssetType.AUDIO, mime_type)
    assert identified.duration_s == pytest.approx(2, abs=0.15)
    drawn = await media.thumbnails(str(path))
    pictures, waveform = drawn.pictures, drawn.waveform
    assert [(one.width, one.height) for one in pictures] == [(1024, 256), (300, 75), (150, 38)]
    assert waveform is not None
    [metadata] = await media.metadata([(str(path), identified)])
    assert isinstance(metadata, Metadata)
    assert metadata.audio_codec is not None
    assert metadata.video_codec is None


async def test_broken_film_is_identified_but_corrupt(media: Media, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    film(path)
    path.write_bytes(path.read_bytes()[:2000])  # the index lies at the end
    identified = await media.identify(str(path))
    assert identified.type is AssetType.VIDEO
    with pytest.raises(Permanent) as raised:
        await media.thumbnails(str(path))
    assert raised.value.code == "corrupt"
