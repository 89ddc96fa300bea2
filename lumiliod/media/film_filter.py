"""Frames as everybody's screen shows them: progressive, in square pixels, upright, in standard dynamic range."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from av.error import BlockingIOError as NothingYet
from av.error import EOFError as EndOfStream
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.media.film_frame import display_size

HDR_TRANSFERS = frozenset({16, 18})
"""SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG), by their code points of ITU-T H.273."""
HD_LINES = 720
"""From so many lines on a film that does not name its colours has those of BT.709, below those of BT.601."""

_PROGRESSIVE_CODECS = frozenset({"hevc", "vp8", "vp9", "av1", "mjpeg"})
_UNSPECIFIED = 2
_TURNS = {90: ["transpose=cclock"], 180: ["hflip", "vflip"], 270: ["transpose=clock"]}


def frame_rate(stream: VideoStream) -> Fraction:
    """Return frames a second, 0 where nothing tells them.

    Of a WebM whose header says nothing libav takes the clock's rate for the average; the lowest rate at which all times
    can be told (``r_frame_rate``) is the frames' own then.
    """
    rates = [Fraction(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate]
    return min(rates, default=Fraction(0))


@dataclass(frozen=True, slots=True)
class Box:
    """What a frame has to fit into, whichever way it lies: pixels on the long and the short side, frames a second."""

    long_side: int
    short_side: int
    rate: Fraction


class FilmFilter:
    """Draws the frames of one stream; all come out in one size, whatever happens in the middle.

    ``size`` is that size, upright.
    """

    def __init__(self, stream: VideoStream, first: VideoFrame, box: Box) -> None:
        self._stream, self._box = stream, box
        self._turn = round(first.rotation / 90) % 4 * 90
        self._lying = _fitted(stream, first, box)
        self.size = drawn_size(stream, first, box)
        self._shape = _shape(first)
        self._graph = self._made(first)

    def take(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Yield what is ready once ``frame`` is there."""
        if _shape(frame) != self._shape:
            yield from self.end()
            self._shape, self._graph = _shape(frame), self._made(frame)
        self._graph.vpush(frame)
        yield from self._ready()

    def end(self) -> Iterator[VideoFrame]:
        """Yield what is left."""
        self._graph.vpush(None)
        yield from self._ready()

    def _ready(self) -> Iterator[VideoFrame]:
        while True:
            try:
                yield self._graph.vpull()
            except (NothingYet, EndOfStream):
                return

    def _made(self, frame: VideoFrame) -> Graph:
        graph = Graph()
        base = frame.time_base or self._stream.time_base or Fraction(1, 1000)
        source = f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={base}"
        colours = f"colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        steps: list[FilterContext] = [graph.add("buffer", f"{source}:{colours}")]
        for step in self._steps(frame):
            name, _, arguments = step.partition("=")
            steps.append(graph.add(name, arguments or None))
        steps.append(graph.add("buffersink"))
        for one, following in pairwise(steps):
            one.link_to(following)
        graph.configure()
        return graph

    def _steps(self, frame: VideoFrame) -> list[str]:
        steps = []
        if self._stream.codec_context.codec.canonical_name not in _PROGRESSIVE_CODECS:
            steps.append("bwdif=mode=send_frame:deint=interlaced")
        if frame_rate(self._stream) > self._box.rate:
            steps.append(f"fps={self._box.rate}")
        width, height = self._lying
        scale = f"scale={width}:{height}:flags=bicubic:out_color_matrix=bt709:out_range=tv"
        if frame.color_trc in HDR_TRANSFERS:
            scale += ":out_primaries=bt709:out_transfer=bt709:intent=perceptual"
        elif frame.colorspace == _UNSPECIFIED and frame.height >= HD_LINES:
            scale += ":in_color_matrix=bt709"
        return [*steps, scale, *_TURNS.get(self._turn, []), "format=yuv420p", "setsar=1"]


def drawn_size(stream: VideoStream, frame: VideoFrame, box: Box) -> tuple[int, int]:
    """Return the size, upright, in which a stream that begins with ``frame`` is drawn."""
    width, height = _fitted(stream, frame, box)
    return (height, width) if round(frame.rotation / 90) % 2 else (width, height)


def _fitted(stream: VideoStream, frame: VideoFrame, box: Box) -> tuple[int, int]:
    """Return the size to draw in before it is turned: even, and never enlarged."""
    width, height = display_size(frame.width, frame.height, stream)
    factor = min(1.0, box.long_side / max(width, height), box.short_side / min(width, height))
    return max(2, round(width * factor / 2) * 2), max(2, round(height * factor / 2) * 2)


def _shape(frame: VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
