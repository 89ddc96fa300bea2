"""The shape of a sound: its loudest samples over time, as numbers for players and as a picture.

Arrays of peaks are int8 ``[points, 2]``: the lowest and the highest sample within each point's time.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from lumiliod.domain.errors import Permanent
from lumiliod.media import libav
from lumiliod.media.appearance import Pixels

Peaks = NDArray[np.int8]
Samples = NDArray[np.int16]

POINTS = 1800
"""Points of a waveform: more than a player is wide."""
RATE_HZ = 8000
"""What sounds are brought to: peaks need no more."""
WHOLE_S = 1800.0
"""Longer sounds are listened to here and there: an audiobook of a day has no more shape than this."""
WINDOW_S = 0.25
"""How long is listened each time."""

BACKGROUND, FOREGROUND = (24, 26, 30), (94, 160, 220)


def peaks(container: InputContainer, stream: AudioStream) -> Peaks:
    """Return the peaks of a sound; none where nothing can be heard."""
    length_s = libav.duration_s(container)
    if length_s is not None and length_s > WHOLE_S:
        return _sampled(container, stream, length_s)
    heard = list(_heard(container, stream))
    return _reduced(np.concatenate(heard) if heard else np.empty(0, np.int16), POINTS)


def encoded(found: Peaks, length_s: float) -> bytes:
    """Return peaks in the binary format of the BBC's audiowaveform, version 1, which web players read.

    Little endian: version, flags (1: eight bits), samples a second, samples a point, points, then the lowest and the
    highest sample of each (https://codeberg.org/chrisn/audiowaveform, doc/DataFormat.md).
    """
    samples_per_point = max(1, round(length_s * RATE_HZ / max(1, len(found))))
    return struct.pack("<iIiiI", 1, 1, RATE_HZ, samples_per_point, len(found)) + found.tobytes()


def drawn(found: Peaks, width: int, height: int) -> Pixels:
    """Return a picture of peaks, uint8 ``[height, width, 3]``: time to the right, silence a line in the middle."""
    columns = np.arange(width) * max(1, len(found)) // width
    shape = found[columns] if len(found) else np.zeros((width, 2), np.int8)
    loudest = max(1, int(np.abs(shape.astype(np.int16)).max()))
    middle, reach = (height - 1) / 2, height * 0.45
    top = middle - shape[:, 1] / loudest * reach
    bottom = middle - shape[:, 0] / loudest * reach
    rows = np.arange(height)[:, None]
    inside = (rows >= np.minimum(top, middle - 0.5)) & (rows <= np.maximum(bottom, middle + 0.5))
    return np.where(inside[..., None], np.array(FOREGROUND, np.uint8), np.array(BACKGROUND, np.uint8))


def _sampled(container: InputContainer, stream: AudioStream, length_s: float) -> Peaks:
    """Listen at every point for a moment."""
    start_s = (container.start_time or 0) / 1_000_000
    found = np.zeros((POINTS, 2), np.int8)
    for point in range(POINTS):
        with suppress(FFmpegError):
            container.seek(int((start_s + (point + 0.5) * length_s / POINTS) * 1_000_000))
            stream.codec_context.flush_buffers()
            heard: list[Samples] = []
            for samples in _heard(container, stream):
                heard.append(samples)
                if sum(map(len, heard)) >= WINDOW_S * RATE_HZ:
                    break
            if heard:
                found[point] = _reduced(np.concatenate(heard), 1)[0]
    return found


def _heard(container: InputContainer, stream: AudioStream) -> Iterator[Samples]:
    """Yield mono samples at ``RATE_HZ``; what does not decode is left out, and what is broken again and again ends."""
    resampler, decoding = AudioResampler("s16", "mono", RATE_HZ), libav.Decoding()
    with suppress(Permanent):
        for packet in chain(libav.packets(container, stream), [None]):
            for frame in decoding.decoded(packet, stream):
                for resampled in resampler.resample(frame):
                    yield np.asarray(resampled.to_ndarray()[0], np.int16)


def _reduced(samples: Samples, points: int) -> Peaks:
    """Return the lowest and the highest sample of each of at most ``points`` equal parts, in eight bits."""
    if not len(samples):
        return np.empty((0, 2), np.int8)
    starts = np.unique(np.arange(points) * len(samples) // points)
    low, high = np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)
    return np.stack([low >> 8, high >> 8], axis=1).astype(np.int8)
