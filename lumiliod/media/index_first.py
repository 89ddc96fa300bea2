"""MP4 files of our own whose index comes first: players start before the end has come."""

from collections.abc import Callable
from contextlib import closing
from typing import BinaryIO

import av
from av.container import InputContainer

from lumiliod.media import isobmff

MOOV_SPARE_BYTES = 4096
"""What the index may grow by when it moves to the front: offsets of 64 instead of 32 bits in tiny files."""


def copy(scratch: BinaryIO, into: BinaryIO, muxer: str, progress: Callable[[float], object]) -> None:
    """Copy a finished MP4, its index first; ``muxer`` is libav's name of the kind of MP4."""
    scratch.flush()
    options = {"moov_size": str(isobmff.index_bytes(scratch) + MOOV_SPARE_BYTES)}
    with reopened(scratch) as container, closing(av.open(into, "w", format=muxer, options=options)) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                output.mux(packet)
                progress(1.0)
    into.flush()


def reopened(file: BinaryIO) -> InputContainer:
    """Open what was written, to read it from its beginning; the caller closes it."""
    file.seek(0)
    return av.open(file, "r", format="mov", options={"protocol_whitelist": "file", "enable_drefs": "0"})
