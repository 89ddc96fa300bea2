"""A strip of small frames of a film, for players to show while one looks for a place in it."""

import math
from contextlib import suppress

import cv2
import numpy as np
import simplejpeg
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.media import libav
from lumiliod.media.appearance import Pixels
from lumiliod.media.film_frame import frame_pixels
from lumiliod.media.media_type import Filmstrip, Sniffed, Source, check_pixels

LONG_SIDE_PX = 160
COLUMNS, MAX_FRAMES = 10, 100
LEAST_INTERVAL_S = 1.0
QUALITY = 70
MAX_PACKETS = 500
"""How far is read from where a seek ended until a frame comes out."""


def filmstrip(source: Source, sniffed: Sniffed, max_pixels: int) -> Filmstrip | None:
    """Return the strip of a film; None of one without a length, or without a frame that can be decoded.

    Each frame is the key frame at or before its place, as players seek: nothing else is decoded.

    Raises:
        Permanent: ``corrupt``, the container cannot be read. Refused: ``too_large``.
    """
    with libav.opened(source, sniffed.mime_type) as container:
        stream = libav.picture_stream(container)
        length_s = libav.duration_s(container)
        if stream is None or not length_s:
            return None
        check_pixels(stream.codec_context.width, stream.codec_context.height, max_pixels)
        interval_s = max(LEAST_INTERVAL_S, length_s / MAX_FRAMES)
        count = max(1, math.ceil(length_s / interval_s - 1e-6))
        stream.codec_context.skip_frame = "NONKEY"
        start_s = (container.start_time or 0) / 1_000_000
        tiles: list[Pixels | None] = []
        for number in range(count):
            frame = _key_frame(container, stream, start_s + number * interval_s)
            tiles.append(None if frame is None else _tile(frame, stream, max_pixels))
    if not any(tile is not None for tile in tiles):
        # a stream without key frames, as some cameras write: the first frame there is
        with libav.opened(source, sniffed.mime_type) as container:
            stream = libav.picture_stream(container)
            frame = None if stream is None else _next_frame(container, stream)
            if frame is not None and stream is not None:
                tiles[0] = _tile(frame, stream, max_pixels)
    return _joined(tiles, interval_s)


def _key_frame(container: InputContainer, stream: VideoStream, at_s: float) -> VideoFrame | None:
    with suppress(FFmpegError):
        container.seek(int(at_s * 1_000_000))
        return _next_frame(container, stream)
    return None


def _next_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    with suppress(FFmpegError):
        for number, packet in enumerate(container.demux(stream)):
            for frame in stream.codec_context.decode(packet):
                return frame
            if number >= MAX_PACKETS:
                break
    return None


def _tile(frame: VideoFrame, stream: VideoStream, max_pixels: int) -> Pixels:
    check_pixels(frame.width, frame.height, max_pixels)
    return frame_pixels(frame, stream, LONG_SIDE_PX)


def _joined(tiles: list[Pixels | None], interval_s: float) -> Filmstrip | None:
    """Lay the frames out; where none could be decoded stands the one before."""
    first = next((tile for tile in tiles if tile is not None), None)
    if first is None:
        return None
    height, width = first.shape[:2]
    columns = min(COLUMNS, len(tiles))
    sheet = np.zeros((math.ceil(len(tiles) / columns) * height, columns * width, 3), np.uint8)
    shown = first
    for number, tile in enumerate(tiles):
        if tile is not None:
            shown = tile
            if tile.shape != first.shape:  # a film that changes its size in the middle
                shown = np.asarray(cv2.resize(tile, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        top, left = number // columns * height, number % columns * width
        sheet[top : top + height, left : left + width] = shown
    data = simplejpeg.encode_jpeg(sheet, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    return Filmstrip(data, len(tiles), columns, interval_s, width, height)
