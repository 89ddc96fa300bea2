"""Pictures of sounds: the cover that comes with one, or its shape."""

from dataclasses import replace
from io import BytesIO

from lumiliod.domain.errors import Permanent
from lumiliod.media import libav, picture, waveform
from lumiliod.media.media_type import HEAD_BYTES, Recipe, Rendering, Sniffed, Source
from lumiliod.media.photo import Photo

ASPECT = 4
"""How much wider than high a picture of a shape is."""


def render(source: Source, sniffed: Sniffed, recipe: Recipe) -> Rendering:
    """Draw the cover where there is one, else the shape of the sound; and return that shape.

    Raises:
        Permanent: ``corrupt``, there is nothing to hear.
    """
    with libav.opened(source, sniffed.mime_type) as container:
        if not container.streams.audio:
            raise Permanent("the container holds no sound", code="corrupt")
        length_s = libav.duration_s(container) or 0.0
        cover = libav.cover(container)
    with libav.opened(source, sniffed.mime_type) as container:
        peaks = waveform.peaks(container, container.streams.audio[0])
    drawn = _cover(cover, recipe) if cover else None
    if drawn is None:
        width = max(recipe.sizes)
        drawn = picture.drawn(waveform.drawn(peaks, width, max(1, width // ASPECT)), 1, b"", recipe)
    return replace(drawn, waveform=waveform.encoded(peaks, length_s))


def _cover(data: bytes, recipe: Recipe) -> Rendering | None:
    """Draw a cover picture; None of one that cannot be decoded, which says nothing of the sound."""
    source = Source(BytesIO(data), data[:HEAD_BYTES], len(data))
    sniffed = Photo().sniff(source.head, source.size_bytes)
    try:
        return Photo().render(source, sniffed, recipe) if sniffed else None
    except Exception:
        return None
