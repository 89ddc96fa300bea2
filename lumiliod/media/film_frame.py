"""Frames of films in square pixels, upright."""

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from lumiliod.media.appearance import Pixels


def display_size(width: int, height: int, stream: VideoStream) -> tuple[int, int]:
    """Return the size of a stream's frame in square pixels, before it is turned; absurd aspects count as square."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not Fraction(1, 8) <= aspect <= 8:
        return width, height
    return max(1, round(width * aspect)), height


def frame_pixels(frame: VideoFrame, stream: VideoStream, long_side: int) -> Pixels:
    """Return a frame as upright RGB, uint8 ``[height, width, 3]``, in display proportions.

    No longer than ``long_side``, and never enlarged.
    """
    width, height = display_size(frame.width, frame.height, stream)
    factor = min(1.0, long_side / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA")
    pixels = np.asarray(scaled.to_ndarray(), np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))
