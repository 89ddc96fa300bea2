"""Find out whether an encoder works: only a picture that came out proves one.

libav carries encoders for hardware that is not there, and drivers answer before they fail. Everything runs inside a
worker process.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError

from lumiliod.media.encoders import ENCODERS, Encoder

SIZE, FRAMES = (352, 288), 10


def probe(names: Iterable[str]) -> tuple[str | None, dict[str, str]]:
    """Return the first of these encoders that works, and why those before do not."""
    reasons: dict[str, str] = {}
    for name in names:
        try:
            _encode_some(name)
        except (UnknownCodecError, FFmpegError, ValueError) as error:
            # a string of libav's options follows, which tells a person nothing
            reasons[name] = (getattr(error, "strerror", None) or str(error))[:200]
        else:
            return name, reasons
    return None, reasons


def _encode_some(name: str) -> None:
    """Encode a few pictures.

    Raises:
        UnknownCodecError: libav has no such encoder. FFmpegError: it does not work. ValueError: nothing came out.
    """
    encoder = ENCODERS.get(name, Encoder())
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = SIZE
    context.pix_fmt, context.time_base, context.framerate = encoder.pix_fmt, Fraction(1, 25), Fraction(25)
    context.options = dict(encoder.options)
    encoded = []
    for number in range(FRAMES):
        frame = av.VideoFrame(*SIZE, encoder.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        encoded += context.encode(frame)
    encoded += context.encode(None)
    if len(encoded) != FRAMES:
        raise ValueError(f"{len(encoded)} of {FRAMES} pictures came out")
