"""A version of a sound that every browser plays and starts at once: AAC in MP4, stereo or mono, at most 48 kHz.

What plays already is left alone; AAC in another container is copied, the rest made anew. Everything runs inside a
worker process; bytes go through open files, never names.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import WebAudio
from lumiliod.media import index_first, libav
from lumiliod.media.film_tracks import AUDIO_RATE, Copied, Heard
from lumiliod.media.media_type import Conversion, Converted, Sniffed, Source

BITS_PER_S = 192_000
RATES = frozenset({16_000, 22_050, 24_000, 32_000, 44_100, 48_000})
"""Sampling rates that are kept; others become ``AUDIO_RATE``."""

_WEB_SOUNDS = {
    "audio/mp4": {"aac"},
    "audio/mpeg": {"mp3"},
    "audio/aac": {"aac"},
    "audio/flac": {"flac"},
    "audio/x-wav": {"pcm_u8", "pcm_s16le", "pcm_s24le"},
    "audio/ogg": {"opus", "vorbis"},
    "audio/webm": {"opus", "vorbis"},
}
"""Containers that browsers play, with the codecs they play in them (developer.mozilla.org, Media type guide)."""
_CONTAINERS_OF_FILMS = {"video/mp4": "audio/mp4", "video/webm": "audio/webm"}
_WEB_PROFILES = frozenset({None, "LC", "HE-AAC", "HE-AACv2"})
"""The kinds of AAC that browsers play; libav's names."""
_MUXER = "ipod"  # libav's name for M4A


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sound needs to play on the web: nothing, or to be copied or made anew."""

    plays: bool
    copies: bool = False


def plan(source: Source, sniffed: Sniffed) -> Plan:
    """Tell what a sound needs. An MP4 may have its index at its end: a sound's is short, and players fetch it first.

    Raises:
        Permanent: ``corrupt``, the container cannot be read or holds no sound.
    """
    with libav.opened(source, sniffed.mime_type) as container:
        return _planned(_sound(container), sniffed)


def converted(source: Source, sniffed: Sniffed, conversion: Conversion) -> Converted:
    """Write a sound's version for the web where one is needed.

    Raises:
        Permanent: ``corrupt``, nothing can be decoded.
    """
    is_needed = not plan(source, sniffed).plays
    return Converted(sound=convert(source, sniffed, conversion) if is_needed else None)


def convert(source: Source, sniffed: Sniffed, conversion: Conversion) -> WebAudio:
    """Write a sound's version for the web.

    Raises:
        Permanent: ``corrupt``, nothing can be decoded.
    """
    scratch, into = conversion.scratch, conversion.into
    with libav.opened(source, sniffed.mime_type) as container:
        _mux(container, _sound(container), sniffed, scratch, conversion.progress)
    index_first.copy(scratch, into, _MUXER, conversion.progress)
    with index_first.reopened(into) as container:
        duration = libav.duration_s(container) or 0.0
    into.seek(0, 2)
    return WebAudio(duration, into.tell())


def _sound(container: InputContainer) -> AudioStream:
    stream = libav.sound_stream(container)
    if stream is None:
        raise Permanent("the container holds no sound", code="corrupt")
    return stream


def _planned(stream: AudioStream, sniffed: Sniffed) -> Plan:
    codec = stream.codec_context.codec.canonical_name
    is_odd = codec == "aac" and stream.codec_context.profile not in _WEB_PROFILES
    container = _CONTAINERS_OF_FILMS.get(sniffed.mime_type, sniffed.mime_type)
    if codec in _WEB_SOUNDS.get(container, ()) and not is_odd:
        return Plan(plays=True)
    return Plan(plays=False, copies=codec == "aac" and not is_odd)


def _mux(
    container: InputContainer,
    stream: AudioStream,
    sniffed: Sniffed,
    scratch: BinaryIO,
    progress: Callable[[float], object],
) -> None:
    length_s = libav.duration_s(container) or 0.0
    start_s = (container.start_time or 0) / 1_000_000
    rate = stream.codec_context.sample_rate
    with closing(av.open(scratch, "w", format=_MUXER)) as output:
        track: Copied | Heard
        if _planned(stream, sniffed).copies:
            track = Copied(output, stream)
        else:
            track = Heard(output, stream, rate if rate in RATES else AUDIO_RATE, BITS_PER_S)
        for packet in libav.packets(container, stream):
            track.take(packet)
            if packet.pts is not None and length_s:
                done_s = float(packet.pts * packet.time_base) - start_s
                progress(min(max(done_s / length_s, 0.0), 1.0))
        track.end()
        if not track.count:
            raise Permanent("nothing can be decoded", code="corrupt")
