"""What libav reads of a container's header: streams, duration, tags. Opened by descriptor, and nothing else."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import av
import av.logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfStream
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from lumiliod.domain.errors import Permanent
from lumiliod.media.media_type import Source

av.logging.set_level(None)  # what is told to Python waits for its lock, held by who waits for that thread

# other files and remote protocols stay closed, whatever a file pretends to be (CVE-2016-1897 and kin)
_OPTIONS = {"protocol_whitelist": "fd", "enable_drefs": "0", "use_absolute_path": "0"}
_COORDINATES = re.compile(r"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)?")  # ISO 6709 in degrees
MAX_BROKEN_PACKETS = 1000
"""What does not decode is left out, so often; what is nothing else is not worth its time."""
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC

# demuxers that belong to what the sniffers admit
FORMATS = {
    "video/mp4": "mov", "video/quicktime": "mov", "video/3gpp": "mov", "video/3gpp2": "mov", "audio/mp4": "mov",
    "video/x-matroska": "matroska", "video/webm": "matroska", "video/x-msvideo": "avi", "video/x-flv": "flv",
    "video/x-ms-wmv": "asf", "audio/x-ms-wma": "asf", "video/m2ts": "mpegts", "video/mpeg": "mpeg",
    "video/ogg": "ogg", "audio/ogg": "ogg", "audio/opus": "ogg", "audio/flac": "flac", "audio/x-wav": "wav",
    "audio/x-aiff": "aiff", "audio/aac": "aac", "audio/mpeg": "mp3",
}  # fmt: skip


@contextmanager
def opened(source: Source, mime_type: str) -> Iterator[InputContainer]:
    """Open a container with the one demuxer that fits its sniffed type; it moves ``source.file``.

    Raises:
        Permanent: ``corrupt``, libav cannot read the header.
    """
    descriptor = source.file.fileno()
    os.lseek(descriptor, 0, os.SEEK_SET)
    options = _OPTIONS | {"fd": str(descriptor)}
    try:
        container = av.open(
            "fd:", format=FORMATS.get(mime_type), options=options, metadata_errors="replace", timeout=None
        )
    except FFmpegError as error:
        raise Permanent(f"the container cannot be read: {error.strerror}", code="corrupt") from error
    with container:
        yield container


def picture_stream(container: InputContainer) -> VideoStream | None:
    """Return the film in a container: the first video stream that is no cover picture."""
    for stream in container.streams.video:
        if not int(stream.disposition) & _ATTACHED_PICTURE and stream.codec_context is not None:
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """Return the first sound there is a decoder for: telephones add tracks only their maker knows."""
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.sample_rate:
            return stream
    return None


def cover(container: InputContainer) -> bytes | None:
    """Return the first picture that is attached to a container, encoded as it is; None where there is none."""
    for stream in container.streams.video:
        if int(stream.disposition) & _ATTACHED_PICTURE:
            with suppress(FFmpegError, StopIteration):
                data = bytes(next(container.demux(stream)))
                if data:
                    return data
    return None


def packets(container: InputContainer, *streams: VideoStream | AudioStream) -> "Iterator[Packet[Any]]":
    """Yield what can be read of streams; a container that breaks off ends there."""
    with suppress(FFmpegError):
        for packet in container.demux(*streams):
            if packet.size:
                yield packet


class Decoding:
    """Decodes a stream's packets, and counts those that cannot be."""

    def __init__(self) -> None:
        self._broken = 0

    def decoded(self, packet: "Packet[Any] | None", stream: VideoStream | AudioStream) -> Iterator[Any]:
        """Yield the frames of a packet, None for those the decoder still holds; none of one that is broken.

        Raises:
            Permanent: ``corrupt``, too many were.
        """
        try:
            yield from stream.codec_context.decode(packet)
        except EndOfStream:
            return
        except FFmpegError:
            self._broken += 1
            if self._broken > MAX_BROKEN_PACKETS:
                raise Permanent("it is broken again and again", code="corrupt") from None


def duration_s(container: InputContainer) -> float | None:
    """Return the length in seconds, or None where the header does not say."""
    if container.duration and container.duration > 0:
        return round(container.duration / 1_000_000, 6)
    lengths = [float(s.duration * s.time_base) for s in container.streams if s.duration and s.time_base]
    return round(max(lengths), 6) if lengths and max(lengths) > 0 else None


def codec(container: InputContainer, kind: str) -> str | None:
    """Return the codec name of the first ``audio`` or ``video`` stream, cover pictures apart."""
    stream = picture_stream(container) if kind == "video" else next(iter(container.streams.audio), None)
    if stream is None or stream.codec_context is None:
        return None
    return str(stream.codec_context.codec.canonical_name)


def quick_tags(container: InputContainer, mime_type: str) -> dict[str, str | int | float]:
    """Return the tags libav sees, under exiftool's names."""
    raw = {key.lower(): value for key, value in container.metadata.items()}
    for stream in container.streams.audio[:1]:  # ogg keeps them there
        raw = {key.lower(): value for key, value in stream.metadata.items()} | raw
    tags: dict[str, str | int | float] = {}
    for key, name in (
        ("com.apple.quicktime.creationdate", "Keys:CreationDate"),
        ("com.apple.quicktime.make", "Keys:Make"),
        ("com.apple.quicktime.model", "Keys:Model"),
        ("com.apple.quicktime.content.identifier", "Keys:ContentIdentifier"),
        ("title", "Container:Title"),
        ("artist", "Container:Artist"),
        ("album", "Container:Album"),
        ("comment", "Container:Comment"),
    ):
        if raw.get(key):
            tags[name] = raw[key][:4096]
    if raw.get("creation_time"):
        is_quicktime = FORMATS.get(mime_type) == "mov"
        tags["QuickTime:CreateDate" if is_quicktime else "Container:DateTimeOriginal"] = raw["creation_time"]
    place = _COORDINATES.match(raw.get("com.apple.quicktime.location.iso6709") or raw.get("location") or "")
    if place:
        with suppress(ValueError):
            tags["Composite:GPSLatitude"] = float(place[1])
            tags["Composite:GPSLongitude"] = float(place[2])
            if place[3]:
                tags["Composite:GPSAltitude"] = float(place[3])
    return tags
