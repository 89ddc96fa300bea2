"""What the daemon and a media worker say to each other: msgpack frames behind a four-byte length.

Requests and answers strictly alternate. Paths travel as bytes: names need not be UTF-8.
"""

from typing import Literal

import msgspec

from lumiliod.media.media_type import Inspected, Rendering

MAX_FRAME_BYTES = 16 << 20


class Setup(msgspec.Struct, frozen=True):
    """The first frame: which media types to load (``module:attribute``) and every limit."""

    media_types: tuple[str, ...]
    memory_limit_bytes: int
    cpu_limit_s: int
    max_pixels: int
    thumbnail_format: Literal["jpeg", "webp"]
    thumbnail_quality: int


class Ready(msgspec.Struct, frozen=True):
    """The worker's first answer: its imports are warm. ``libraries`` maps what only it can know to versions."""

    libraries: dict[str, str]


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """Ask what a file is."""

    path: bytes


class Render(msgspec.Struct, frozen=True, tag=True):
    """Ask for pictures of a file, written into a folder."""

    path: bytes
    into: bytes
    sizes: tuple[int, ...]


class Known(msgspec.Struct, frozen=True, tag=True):
    """Answer to Inspect."""

    inspected: Inspected


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """Answer to Render."""

    rendering: Rendering


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request failed; ``kind`` names the error class the daemon raises."""

    kind: Literal["permanent", "refused", "not_found", "unavailable"]
    code: str
    message: str


Request = Inspect | Render
Answer = Known | Drawn | Failed


def frame(message: Request | Answer | Setup | Ready) -> bytes:
    """Return ``message`` as it goes through the pipe."""
    payload = msgspec.msgpack.encode(message)
    return len(payload).to_bytes(4, "big") + payload
