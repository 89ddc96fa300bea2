"""A version of a film that every browser plays and starts at once: H.264 and AAC in MP4, at most 1080p.

What plays already is left alone; streams that comply are copied, the others made anew, upright, progressive and in
standard dynamic range. Everything runs inside a worker process; bytes go through open files, never names.
"""

from contextlib import closing
from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.domain.errors import Permanent
from lumiliod.domain.media import WebVideo
from lumiliod.media import index_first, isobmff, libav
from lumiliod.media.film_filter import HDR_TRANSFERS
from lumiliod.media.film_tracks import LONG_SIDE, SHORT_SIDE, Copied, Drawn, Heard, film_stream, first_frame
from lumiliod.media.media_type import Conversion, Sniffed, Source

_WEB_CONTAINERS = {
    "video/mp4": ({"h264"}, {"aac", "mp3"}),
    "video/webm": ({"vp8", "vp9", "av1"}, {"opus", "vorbis"}),
}
"""Containers that browsers play, with the codecs they play in them (developer.mozilla.org, Media type guide)."""
_PROGRESSIVE = 1  # AVFieldOrder
_COPIED_SOUND = frozenset({"aac", "mp3"})
_WEB_PIXELS = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What a film needs to play on the web: nothing, or these streams copied or made anew."""

    plays: bool
    copies_picture: bool = False
    copies_sound: bool = False
    has_sound: bool = False


def plan(source: Source, sniffed: Sniffed, max_pixels: int) -> Plan:
    """Tell what a film needs.

    Raises:
        Permanent: ``corrupt``, the container cannot be read or holds no film. Refused: ``too_large``.
    """
    starts_at_once = _starts_at_once(source, sniffed)  # before: who opens it moves the file
    with libav.opened(source, sniffed.mime_type) as container:
        return _planned(container, sniffed, film_stream(container, max_pixels), starts_at_once=starts_at_once)


def convert(source: Source, sniffed: Sniffed, conversion: Conversion) -> WebVideo:
    """Write a film's version for the web.

    Raises:
        Permanent: ``corrupt``, no frame can be decoded. Refused: ``too_large``.
    """
    max_pixels, scratch, into = conversion.max_pixels, conversion.scratch, conversion.into
    starts_at_once = _starts_at_once(source, sniffed)  # before: who opens it moves the file
    with libav.opened(source, sniffed.mime_type) as container:
        stream = film_stream(container, max_pixels)
        needs = _planned(container, sniffed, stream, starts_at_once=starts_at_once)
        first = None if needs.copies_picture else first_frame(container, stream, max_pixels)
    with libav.opened(source, sniffed.mime_type) as container:
        copied = _mux(container, film_stream(container, max_pixels), needs, first, conversion)
    index_first.copy(scratch, into, "mp4", conversion.progress)
    with index_first.reopened(into) as container:
        [film] = container.streams.video
        frame = next(container.decode(film))
        turned = frame.rotation % 180 != 0
        width, height = (film.height, film.width) if turned else (film.width, film.height)
        duration = libav.duration_s(container) or 0.0
    into.seek(0, 2)
    return WebVideo(width, height, duration, into.tell(), copied)


def _starts_at_once(source: Source, sniffed: Sniffed) -> bool:
    return sniffed.mime_type != "video/mp4" or isobmff.index_comes_first(source.file)


def _planned(container: InputContainer, sniffed: Sniffed, stream: VideoStream, *, starts_at_once: bool) -> Plan:
    film = libav.codec(container, "video") or ""
    sound = libav.sound_stream(container)
    sound_codec = sound.codec_context.codec.canonical_name if sound is not None else None
    is_fit = _fits(stream) and not _is_interlaced(stream)
    codecs = _WEB_CONTAINERS.get(sniffed.mime_type)
    if is_fit and codecs and film in codecs[0] and (sound_codec is None or sound_codec in codecs[1]):
        is_all_sound = len(container.streams.audio) == (sound is not None)
        if is_all_sound and starts_at_once:
            return Plan(plays=True)
    copies_picture = is_fit and film == "h264"
    return Plan(False, copies_picture, sound_codec in _COPIED_SOUND, sound is not None)


def _fits(stream: VideoStream) -> bool:
    context = stream.codec_context
    long_side, short_side = max(context.width, context.height), min(context.width, context.height)
    return (
        long_side <= LONG_SIDE
        and short_side <= SHORT_SIDE
        and context.pix_fmt in _WEB_PIXELS
        and context.color_trc not in HDR_TRANSFERS
    )


def _is_interlaced(stream: VideoStream) -> bool:
    """Tell by the header; what a decoder finds later is woven together all the same."""
    return int(stream.codec_context.field_order or 0) > _PROGRESSIVE


def _mux(
    container: InputContainer,
    stream: VideoStream,
    needs: Plan,
    first: VideoFrame | None,
    conversion: Conversion,
) -> bool:
    """Write all streams in the order they come; return whether the picture was copied."""
    length_s = libav.duration_s(container) or 0.0
    start_s = (container.start_time or 0) / 1_000_000
    sound = libav.sound_stream(container)
    with closing(av.open(conversion.scratch, "w", format="mp4")) as output:
        picture_track = Copied(output, stream) if first is None else Drawn(output, stream, first, conversion.encoder)
        tracks: dict[int, Copied | Drawn | Heard] = {stream.index: picture_track}
        if sound is not None:
            tracks[sound.index] = Copied(output, sound) if needs.copies_sound else Heard(output, sound)
        for packet in libav.packets(container, *(one for one in (stream, sound) if one is not None)):
            tracks[packet.stream_index].take(packet)
            if packet.stream_index == stream.index and packet.pts is not None and length_s:
                done_s = float(packet.pts * packet.time_base) - start_s
                conversion.progress(min(max(done_s / length_s, 0.0), 1.0))
        for track in tracks.values():
            track.end()
        if not picture_track.count:
            raise Permanent("no frame can be decoded", code="corrupt")
    return needs.copies_picture
