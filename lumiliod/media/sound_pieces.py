"""The sound of a piece of a film, made alone, that plays on from the piece before: AAC, on one grid for the whole film.

What is decoded is laid down where its times say, and encoded from a little before a piece, of which nothing is kept.
Everything runs inside a worker process.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from math import ceil
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from lumiliod.domain.streaming import Piece
from lumiliod.media import libav
from lumiliod.media.film_tracks import AUDIO_RATE, SKEW_S
from lumiliod.media.media_type import Sniffed, Source

REST_S = 6.0
"""So much longer than it says a film may be; lengths are estimates in some containers."""
BACK_S = 10.0
"""How much earlier is sought again when a seek ended too late."""
SOUND_LEAD_S = 1.0
"""How much before a piece its sound is decoded."""
AAC_SAMPLES, AAC_LEAD = 1024, 2
"""Samples in a frame of AAC, and so many frames until its encoder is in the middle of a sound."""

Samples = NDArray[np.float32]


def began_s(container: InputContainer) -> Fraction:
    """Return where a film's times begin, in seconds."""
    return Fraction(container.start_time or 0, 1_000_000)


def packets(source: Source, sniffed: Sniffed, piece: Piece, track: AudioStream) -> "Iterator[Packet[Any]]":
    """Yield the encoded sound of a piece; what cannot be decoded is silence."""
    limit_s = piece.to_s + (REST_S if piece.is_last else 0)
    from_frame, to_frame, limit = (
        ceil(at_s * AUDIO_RATE / AAC_SAMPLES) for at_s in (piece.from_s, piece.to_s, limit_s)
    )
    first, last = from_frame - AAC_LEAD, limit + AAC_LEAD
    samples = np.zeros((track.codec_context.channels, (last - first) * AAC_SAMPLES), np.float32)
    for back_s in (SOUND_LEAD_S, BACK_S):
        at_s = piece.from_s - back_s
        with libav.opened(source, sniffed.mime_type) as container:
            run = _Run(samples)
            if _listen(container, max(0.0, at_s), first * AAC_SAMPLES, run, track) or at_s <= 0:
                break
    to_frame = max(to_frame, min(limit, first + run.filled // AAC_SAMPLES))
    encoded: list[Packet[Any]] = []
    for number in range(last - first):
        part = np.ascontiguousarray(samples[:, number * AAC_SAMPLES : (number + 1) * AAC_SAMPLES])
        frame = AudioFrame.from_ndarray(part, format="fltp", layout=track.layout.name)
        frame.sample_rate, frame.pts = AUDIO_RATE, (first + number) * AAC_SAMPLES
        frame.time_base = Fraction(1, AUDIO_RATE)
        encoded += track.encode(frame)
    encoded += track.encode(None)
    for packet in encoded:
        if packet.pts is not None and from_frame * AAC_SAMPLES <= packet.pts < to_frame * AAC_SAMPLES:
            yield packet


def _listen(container: InputContainer, at_s: float, base: int, run: "_Run", track: AudioStream) -> bool:
    """Decode sound from ``at_s`` on into ``run``, whose first sample is the film's number ``base``.

    Returns:
        Whether it began before what is wanted.
    """
    stream = libav.sound_stream(container)
    if stream is None:
        return True
    start_s = began_s(container)
    if at_s > 0:
        try:
            container.seek(int((start_s + Fraction(at_s)) / (stream.time_base or 1)), stream=stream)
        except FFmpegError:
            return False
    decoding, resampler = libav.Decoding(), AudioResampler("fltp", track.layout.name, AUDIO_RATE)
    is_early: bool | None = None
    for packet in chain(libav.packets(container, stream), [None]):
        for frame in chain(decoding.decoded(packet, stream), [None] if packet is None else []):
            for heard in resampler.resample(frame):
                if heard.pts is not None:
                    place = round((heard.pts * (heard.time_base or 1) - start_s) * AUDIO_RATE) - base
                    is_early = place <= 0 if is_early is None else is_early
                    run.add(place, np.asarray(heard.to_ndarray(), np.float32))
        if run.end >= run.wanted + SKEW_S * AUDIO_RATE:
            break
    run.lay_down()
    return bool(is_early)


class _Run:
    """Pieces of sound that follow each other without a gap; where they begin is what their times say on average.

    Samples are float32 ``[channels, samples]``. Containers round times to milliseconds: that would be a click wherever
    two runs meet that went by one of them each.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._parts: list[Samples] = []
        self._errors: list[int] = []
        self._start = self._length = 0
        self.wanted = samples.shape[1]
        self.filled = 0
        """Up to where there is sound."""

    @property
    def end(self) -> int:
        """Return the place where the next part should begin."""
        return self._start + self._length

    def add(self, place: int, part: Samples) -> None:
        """Take the part that says it begins at ``place``; another run begins with it where that is too far off."""
        if self._parts and abs(place - self.end) > SKEW_S * AUDIO_RATE:
            self.lay_down()
        if not self._parts:
            self._start = place
        self._errors.append(place - self.end)
        self._parts.append(part)
        self._length += part.shape[1]

    def lay_down(self) -> None:
        """Put what was taken into its place, as far as that is wanted, and forget it."""
        if self._parts:
            at = self._start + round(sum(self._errors) / len(self._errors))
            begin, end = max(0, at), min(self.wanted, at + self._length)
            if begin < end:
                self._samples[:, begin:end] = np.concatenate(self._parts, axis=1)[:, begin - at : end - at]
                self.filled = max(self.filled, end)
        self._parts, self._errors, self._start, self._length = [], [], self.end, 0
