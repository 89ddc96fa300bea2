"""Pieces of a film for streaming, each made alone, that play on from each other: H.264 and AAC in fragmented MP4.

What makes them fit: all times are the film's own; a piece has the frames that begin within it, the first of them a key
frame, and none that is decoded out of order; for its sound see :mod:`sound_pieces`. Everything runs inside a worker
process.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.domain.errors import Permanent
from lumiliod.domain.streaming import AUDIO_BITS_PER_S, RENDITIONS, FilmSurvey, Piece, offered
from lumiliod.media import isobmff, libav, sound_pieces
from lumiliod.media.film_filter import Box, FilmFilter, drawn_size
from lumiliod.media.film_tracks import (
    AUDIO_RATE,
    MAX_RATE,
    film_stream,
    first_frame,
    frames_per_second,
    picture_track,
)
from lumiliod.media.media_type import Conversion, Sniffed, Source
from lumiliod.media.sound_pieces import BACK_S, REST_S

TICK = Fraction(1, 90_000)
"""What times of the picture are counted in: frames of all usual rates last whole numbers of it."""
LEAD_S = 0.5
"""So much before a piece its frames are drawn: what takes the fields of a picture apart looks back."""
HOLD_S = 0.1
"""Where a piece begins so much before its first frame, the one before is shown again."""
MAX_SMEARED = 600
"""Frames passed over, after a seek, until one needs no other."""
_BEFORE = 1 << 62
_WHOLE = Box(1 << 16, 1 << 16, Fraction(MAX_RATE))
_MOVIE = {
    "movflags": "empty_moov+default_base_moof+frag_custom+frag_discont+skip_trailer",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
}


def survey(source: Source, sniffed: Sniffed, max_pixels: int) -> FilmSurvey:
    """Tell what must be known of a film to stream it.

    Raises:
        Permanent: ``corrupt``, it cannot be read, or no frame of it decoded. Refused: ``too_large``.
    """
    with libav.opened(source, sniffed.mime_type) as container:
        stream = film_stream(container, max_pixels)
        first = first_frame(container, stream, max_pixels)
        names = offered(*drawn_size(stream, first, _WHOLE))
        sizes = {name: drawn_size(stream, first, _box(name)) for name in names}
        has_sound = libav.sound_stream(container) is not None
        rate = float(frames_per_second(stream))
        return FilmSurvey(libav.duration_s(container) or 0.0, rate, has_sound, sizes)


def write(source: Source, sniffed: Sniffed, piece: Piece, conversion: Conversion) -> int:
    """Write a piece, or what the pieces of a rendition begin with; return its bytes.

    Raises:
        Permanent: ``corrupt``, no frame can be decoded. Refused: ``too_large``.
    """
    scratch, into = conversion.scratch, conversion.into
    with libav.opened(source, sniffed.mime_type) as container:
        stream = film_stream(container, conversion.max_pixels)
        first = first_frame(container, stream, conversion.max_pixels)
        rate = frames_per_second(stream)
        channels = _channels(container)
        size = drawn_size(stream, first, _box(piece.rendition))
    rendition = RENDITIONS[piece.rendition]
    limits = {"maxrate": str(rendition.bits_per_s), "bufsize": str(2 * rendition.bits_per_s), "level": rendition.level}
    options = {**_MOVIE, "fragment_index": str((piece.number or 0) + 1)}
    with closing(av.open(scratch, "w", format="mp4", options=options)) as output:
        picture = picture_track(output, rate, size, {**limits, "bf": "0"})
        picture.codec_context.time_base = picture.time_base = TICK
        sound = None
        if channels:
            sound = output.add_stream("aac", rate=AUDIO_RATE, layout="mono" if channels == 1 else "stereo")
            sound.codec_context.bit_rate = AUDIO_BITS_PER_S
        output.start_encoding()
        if piece.number is not None:
            drawing = _Drawing(source, sniffed, piece, first, picture, conversion)
            for packet in drawing.packets():
                output.mux(packet)
            if sound is not None:
                for packet in sound_pieces.packets(source, sniffed, piece, sound):
                    output.mux(packet)
    return _cut_out(scratch, into, is_header=piece.number is None)


def _box(name: int) -> Box:
    return Box(RENDITIONS[name].long_side, RENDITIONS[name].short_side, Fraction(MAX_RATE))


def _channels(container: InputContainer) -> int:
    stream = libav.sound_stream(container)
    return 0 if stream is None else max(1, stream.codec_context.channels)


class _Drawing(libav.Decoding):
    """The picture of a piece."""

    def __init__(
        self,
        source: Source,
        sniffed: Sniffed,
        piece: Piece,
        first: VideoFrame,
        track: VideoStream,
        conversion: Conversion,
    ) -> None:
        super().__init__()
        self._source, self._sniffed, self._piece, self._first = source, sniffed, piece, first
        self._track, self._conversion = track, conversion
        self._from, self._to = round(piece.from_s / TICK), round(piece.to_s / TICK)
        self._limit = self._to + (round(REST_S / TICK) if piece.is_last else 0)

    def packets(self) -> "list[Packet[Any]]":
        """Return the encoded frames of the piece, each lasting until the next.

        Raises:
            Permanent: ``corrupt``, no frame can be decoded.
        """
        for back_s in (LEAD_S, BACK_S, None):
            at_s = None if back_s is None or self._piece.from_s <= back_s else self._piece.from_s - back_s
            with libav.opened(self._source, self._sniffed.mime_type) as container:
                found = self._encoded(container, at_s)
            if found is not None:
                break
        else:
            raise Permanent("no frame can be decoded", code="corrupt")
        for one, following in zip(found, [*found[1:], None], strict=True):
            until = self._to if following is None else following.pts or 0
            one.duration = until - (one.pts or 0) if until > (one.pts or 0) else one.duration or 1
        return found

    def _encoded(self, container: InputContainer, at_s: float | None) -> "list[Packet[Any]] | None":
        """Return the encoded frames, sought at ``at_s``; None where that led too far, or nowhere."""
        stream = film_stream(container, self._conversion.max_pixels)
        start_s = sound_pieces.began_s(container)
        frames = self._frames(container, stream, start_s, at_s)
        first = next(frames, None)
        if first is None or (at_s is not None and self._ticks(first, start_s) > self._from):
            return None
        found: list[Packet[Any]] = []
        for tick, frame in self._chosen(chain([first], frames), stream, start_s):
            frame.pts, frame.time_base = tick, TICK
            found += self._track.encode(frame)
            self._conversion.progress(min(1.0, (tick - self._from) / max(1, self._to - self._from)))
        found += self._track.encode(None)
        return found or None

    def _frames(
        self, container: InputContainer, stream: VideoStream, start_s: Fraction, at_s: float | None
    ) -> Iterator[VideoFrame]:
        """Yield what is decoded from ``at_s`` on, or from the beginning; a smear after a seek is passed over."""
        stream.thread_type = "AUTO"
        if at_s is not None:
            try:
                container.seek(int((float(start_s) + at_s) * 1_000_000))
            except FFmpegError:
                return
        passed_over = 0
        is_clear = at_s is None
        for packet in chain(libav.packets(container, stream), [None]):
            for frame in self.decoded(packet, stream):
                is_clear = is_clear or frame.key_frame
                if is_clear and frame.pts is not None:
                    yield frame
                elif (passed_over := passed_over + 1) > MAX_SMEARED:
                    return

    def _chosen(
        self, frames: Iterator[VideoFrame], stream: VideoStream, start_s: Fraction
    ) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the drawn frames that are shown within the piece, with their ticks; at least one, if there is any."""
        shown: VideoFrame | None = None
        last = self._from - 1
        for drawn in self._drawn(frames, stream, start_s):
            tick = self._ticks(drawn, start_s)
            if tick >= self._limit:
                break
            if tick < self._from:
                shown = drawn
                continue
            if shown is not None and tick > self._from + HOLD_S / TICK:
                yield self._from, shown
                last = self._from
            shown = None
            if tick > last:
                yield tick, drawn
                last = tick
        if shown is not None:
            yield self._from, shown

    def _drawn(self, frames: Iterator[VideoFrame], stream: VideoStream, start_s: Fraction) -> Iterator[VideoFrame]:
        """Yield drawn frames from shortly before the piece on."""
        drawing = FilmFilter(stream, self._first, _box(self._piece.rendition))
        before: VideoFrame | None = None
        for frame in frames:
            if self._ticks(frame, start_s) < self._from - LEAD_S / TICK:
                before = frame
                self._conversion.progress(0.0)
                continue
            if before is not None:
                yield from drawing.take(before)
                before = None
            yield from drawing.take(frame)
        if before is not None:
            yield from drawing.take(before)
        yield from drawing.end()

    def _ticks(self, frame: VideoFrame, start_s: Fraction) -> int:
        base = frame.time_base or Fraction(1, 1000)
        return -_BEFORE if frame.pts is None else round((frame.pts * base - start_s) / TICK)


def _cut_out(scratch: BinaryIO, into: BinaryIO, *, is_header: bool) -> int:
    """Copy what comes before the first fragment, or the fragment; return how many bytes that is."""
    scratch.flush()
    header_bytes = isobmff.header_bytes(scratch)
    scratch.seek(0 if is_header else header_bytes)
    if is_header:
        into.write(scratch.read(header_bytes))
    else:
        shutil.copyfileobj(scratch, into)
    into.flush()
    return into.tell()
