"""The streams of a film on their way into an MP4: copied, drawn anew, or heard anew."""

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any

from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.domain.errors import Permanent
from lumiliod.media.encoders import ENCODERS, SOFTWARE, Encoder
from lumiliod.media.film_filter import Box, FilmFilter, frame_rate
from lumiliod.media.libav import Decoding, packets, picture_stream
from lumiliod.media.media_type import check_pixels

LONG_SIDE, SHORT_SIDE = 1920, 1080
MAX_RATE = 60
"""Frames a second; slow motion has more, and nobody's screen."""
KEY_FRAME_S = 2
AUDIO_RATE, AUDIO_BITS_PER_S = 48_000, 160_000
"""Hertz, and bits a second, of the sound of a film."""
SKEW_S = 0.2
"""So much earlier than its predecessor ends a piece of sound may claim to begin, and follows it; more is left out."""
MAX_UNDATED_PACKETS = 32
"""Packets without a decoding time that are waited with; twice what H.264 may reorder."""

_BT709, _LIMITED = 1, 1  # ITU-T H.273, AVColorRange


class Copied:
    """A stream that goes over as it is."""

    def __init__(self, output: OutputContainer, stream: VideoStream | AudioStream) -> None:
        self._output = output
        self._stream = output.add_stream_from_template(stream)
        self._undated: list[Packet[Any]] = []
        self._last: int | None = None
        self.count = 0

    def take(self, packet: "Packet[Any]") -> None:
        """Write a packet; one that goes back in time is left out.

        Some containers say only when a frame is shown: the first ones are to be decoded so much before the first that
        says when it is to be.
        """
        if packet.dts is None and self._last is None and len(self._undated) < MAX_UNDATED_PACKETS:
            self._undated.append(packet)
            return
        self._date_back(packet)
        self._write(packet)

    def end(self) -> None:
        """Write what came without a time."""
        if self._undated:
            self._date_back(self._undated[-1])

    def _date_back(self, next_one: "Packet[Any]") -> None:
        undated, self._undated = self._undated, []
        at = next_one.dts if next_one.dts is not None else next_one.pts
        for number, packet in enumerate(undated):
            if at is not None:
                packet.dts = at - (len(undated) - number) * max(1, packet.duration or 1)
            self._write(packet)

    def _write(self, packet: "Packet[Any]") -> None:
        if packet.dts is None or packet.is_corrupt or (self._last is not None and packet.dts <= self._last):
            return
        self._last = packet.dts
        packet.stream = self._stream
        self._output.mux(packet)
        self.count += 1


class Drawn(Decoding):
    """A picture made anew."""

    def __init__(
        self, output: OutputContainer, stream: VideoStream, first: VideoFrame, encoder: str = SOFTWARE
    ) -> None:
        super().__init__()
        self._output, self._source = output, stream
        stream.thread_type = "AUTO"
        rate = frames_per_second(stream)
        self._filter = FilmFilter(stream, first, Box(LONG_SIDE, SHORT_SIDE, Fraction(MAX_RATE)))
        self._encoder = picture_track(output, rate, self._filter.size, {}, encoder)
        self._encoder.codec_context.time_base = first.time_base or stream.time_base or Fraction(1, 1000)
        open_encoder(self._encoder)
        self._last: int | None = None
        self.count = 0

    def take(self, packet: "Packet[Any]") -> None:
        """Decode, draw and encode."""
        for frame in self.decoded(packet, self._source):
            self._draw(frame)

    def end(self) -> None:
        """Write what the decoder, the filter and the encoder still hold."""
        for frame in self.decoded(None, self._source):
            self._draw(frame)
        for drawn in self._filter.end():
            self._encode(drawn)
        self._output.mux(encoded(self._encoder, None))

    def _draw(self, frame: VideoFrame) -> None:
        if frame.pts is None:
            return
        for drawn in self._filter.take(frame):
            self._encode(drawn)

    def _encode(self, drawn: VideoFrame) -> None:
        if drawn.pts is None or (self._last is not None and drawn.pts <= self._last):
            return
        self._last = drawn.pts
        self._output.mux(encoded(self._encoder, drawn))
        self.count += 1


class Heard(Decoding):
    """A sound made anew: AAC, stereo or mono."""

    def __init__(
        self,
        output: OutputContainer,
        stream: AudioStream,
        rate: int = AUDIO_RATE,
        bits_per_s: int = AUDIO_BITS_PER_S,
    ) -> None:
        super().__init__()
        self._output, self._source = output, stream
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._encoder = output.add_stream("aac", rate=rate, layout=layout)
        self._encoder.codec_context.bit_rate = bits_per_s
        self._resampler = AudioResampler("fltp", layout, rate)
        self._tick = Fraction(1, rate)
        self._skew = round(rate * SKEW_S)
        self._next: int | None = None
        self.count = 0

    def take(self, packet: "Packet[Any]") -> None:
        """Decode, resample and encode."""
        for frame in self.decoded(packet, self._source):
            self._encode(frame)

    def end(self) -> None:
        """Write what the decoder, the resampler and the encoder still hold."""
        for frame in self.decoded(None, self._source):
            self._encode(frame)
        with suppress(FFmpegError, ValueError):
            self._encode(None)
        self._output.mux(self._encoder.encode(None))

    def _encode(self, frame: object) -> None:
        for resampled in self._resampler.resample(frame):  # type: ignore[arg-type]  # an AudioFrame, or None at the end
            if resampled.pts is not None:  # what needs no resampling comes out in its container's time
                resampled.pts = round(resampled.pts * (resampled.time_base or 1) / self._tick)
                resampled.time_base = self._tick
            if resampled.pts is not None and self._next is not None and resampled.pts < self._next:
                if resampled.pts < self._next - self._skew:
                    continue
                resampled.pts = self._next
            if resampled.pts is not None:
                self._next = resampled.pts + resampled.samples
            self._output.mux(self._encoder.encode(resampled))
            self.count += 1


def picture_track(
    output: OutputContainer,
    rate: Fraction,
    size: tuple[int, int],
    options: Mapping[str, str],
    encoder: str = SOFTWARE,
) -> VideoStream:
    """Add a track for pictures made anew: H.264 in the colours of BT.709, with a key frame every ``KEY_FRAME_S``."""
    how = ENCODERS.get(encoder, Encoder())
    told = {**how.options, **options, "g": str(round(rate * KEY_FRAME_S))}
    track: VideoStream = output.add_stream(encoder, rate=rate, options=told)  # type: ignore[assignment]  # by its name
    track.width, track.height = size
    track.pix_fmt = how.pix_fmt
    context = track.codec_context
    context.color_primaries = context.color_trc = context.colorspace = _BT709
    context.color_range = _LIMITED
    return track


def open_encoder(track: VideoStream) -> None:
    """Open the encoder of a track, before the first packet of another would. Raises as :func:`encoded`."""
    try:
        track.codec_context.open()
    except FFmpegError as error:
        raise _encoder_failed(track, error) from error


def encoded(track: VideoStream, drawn: VideoFrame | None) -> "list[Packet[Any]]":
    """Return what comes out of the encoder of a track.

    Raises:
        Permanent: ``encoder_failed``; the film is not to blame.
    """
    try:
        return list(track.encode(drawn))
    except FFmpegError as error:
        raise _encoder_failed(track, error) from error


def _encoder_failed(track: VideoStream, error: FFmpegError) -> Permanent:
    return Permanent(f"the encoder {track.codec_context.name} failed: {error.strerror}", code="encoder_failed")


def film_stream(container: InputContainer, max_pixels: int) -> VideoStream:
    """Return the film in a container.

    Raises:
        Permanent: ``corrupt``, there is none. Refused: ``too_large``.
    """
    stream = picture_stream(container)
    if stream is None:
        raise Permanent("the container holds no film", code="corrupt")
    check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
    return stream


def first_frame(container: InputContainer, stream: VideoStream, max_pixels: int) -> VideoFrame:
    """Return the first frame that can be decoded.

    Raises:
        Permanent: ``corrupt``, there is none. Refused: ``too_large``.
    """
    decoding = Decoding()
    for packet in chain(packets(container, stream), [None]):
        frame: VideoFrame | None = next(iter(decoding.decoded(packet, stream)), None)
        if frame is not None:
            check_pixels(frame.width, frame.height, max_pixels)
            return frame
    raise Permanent("no frame can be decoded", code="corrupt")


def frames_per_second(stream: VideoStream) -> Fraction:
    """Return frames a second, for the encoder to plan by; what headers claim is taken within reason."""
    rate = frame_rate(stream)
    return min(rate, Fraction(MAX_RATE)).limit_denominator(1001) if 1 <= rate <= MAX_RATE * 4 else Fraction(30)
