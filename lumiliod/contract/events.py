"""Server-sent events as bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html): written, and read."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

MEDIA_TYPE = "text/event-stream"

ALIVE = b":\n\n"
"""A comment: nothing has happened, and the connection lives."""


class Event(NamedTuple):
    """One event: ``data`` is JSON without line breaks."""

    name: str
    number: int
    data: bytes


def written(event: Event) -> bytes:
    """Return an event as it is sent."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (event.name.encode(), event.number, event.data)


def read(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events of a stream of ours; comments are passed over.

    Only an empty line ends an event: within its JSON stand characters that elsewhere count as line breaks.
    """
    rest = b""
    for chunk in chunks:
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            parts = (line.partition(b": ") for line in block.split(b"\n"))
            fields = {name: value for name, _, value in parts}
            if b"event" in fields:
                yield Event(fields[b"event"].decode(), int(fields.get(b"id", b"0")), fields.get(b"data", b""))
