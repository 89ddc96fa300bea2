"""Multipart bodies read part by part, in constant memory, never spooled."""

import trio
from werkzeug.datastructures import Headers
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Field, File, MultipartDecoder, State

from lumiliod.api.body import RequestBody
from lumiliod.api.memory import find
from lumiliod.domain.errors import Shape

MAX_HEAD_BYTES = 16 * 1024
"""The most that may precede a part's data: preamble, boundary and headers."""

MAX_FIELD_BYTES = 64 * 1024
MAX_BOUNDARY_BYTES = 70
"""RFC 2046 §5.1.1."""

_MAX_PADDING_BYTES = 100
"""White space after a boundary (RFC 2046 allows it, nobody sends it) that may lie across two pieces."""


class _Decoder(MultipartDecoder):
    """Werkzeug's decoder, without its loss of the line break before a boundary.

    When a piece of the body ends inside the two bytes that follow a boundary, Werkzeug 3.1 takes
    the carriage return before it for data, and the file grows by a byte.
    """

    def _last_partial_boundary_index(self, data: bytes | bytearray) -> int:
        """Return where what may still be a boundary begins."""
        index = super()._last_partial_boundary_index(data)
        marker = b"--" + self.boundary
        at = data.rfind(marker, max(0, len(data) - len(marker) - _MAX_PADDING_BYTES))
        if at > 0 and not data[at + len(marker) :].strip(b" \t\v\f-"):
            begin = at - 2 if data[max(0, at - 2) : at] == b"\r\n" else at - 1
            if data[begin : begin + 1] in (b"\r", b"\n"):
                return min(index, begin)
        return index


class Part:
    """One part: iterate over it for its data. ``filename`` is None for a plain field."""

    def __init__(self, multipart: "Multipart", event: Field | File) -> None:
        # A part without a name reads as None from the decoder, whatever its annotation says.
        self.name: str = event.name or ""
        self.filename: str | None = event.filename if isinstance(event, File) else None
        self.headers: Headers = event.headers
        self._multipart = multipart

    def __aiter__(self) -> "Part":
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._multipart.part_data()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read_into(self, view: memoryview) -> int:
        """Put the next bytes at the beginning of ``view``; return how many, 0 at the end."""
        return await self._multipart.part_into(view)

    async def text(self) -> str:
        """Return a field's value.

        Raises:
            Shape: it is too long or not UTF-8.
        """
        value = bytearray()
        async for chunk in self:
            value += chunk
            if len(value) > MAX_FIELD_BYTES:
                raise Shape(f"The form field `{self.name}` is too long.", code="bad_multipart")
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Shape(f"The form field `{self.name}` is not UTF-8.", code="bad_multipart") from error


class Multipart:
    """The parts of a ``multipart/form-data`` body, in order.

    Raises:
        Shape: ``bad_multipart`` when the content type or the body is malformed, ``truncated_upload``
            when it ends early; both from any method.
    """

    def __init__(self, body: RequestBody, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get("boundary", "")
        if not boundary or len(boundary) > MAX_BOUNDARY_BYTES or not boundary.isascii():
            raise Shape("The multipart content type has no usable boundary.", code="bad_multipart")
        self._body = body
        self._decoder = _Decoder(boundary.encode())
        self._in_part = False
        self._rest = memoryview(b"")
        self._marker = b"--" + boundary.encode()
        self._beginnings = tuple(line_break + self._marker for line_break in (b"\r\n", b"\r", b"\n"))

    async def next_part(self) -> Part | None:
        """Skip what is left of the present part and return the next, or None after the last."""
        while await self.part_data() is not None:
            pass
        while True:
            event = await self._next_event()
            if isinstance(event, Field | File):
                self._in_part = True
                return Part(self, event)
            if isinstance(event, Epilogue):
                return None

    async def part_into(self, view: memoryview) -> int:
        """Put the next bytes of the present part at the beginning of ``view``; return how many, 0 at its end.

        What cannot hold a boundary goes straight from the connection to where it is wanted; all else is the decoder's.
        """
        if not self._rest:
            if self._is_amidst:
                count = await self._body.read_into(view)
                plain = self._plain_bytes(view[:count])
                if plain < count:
                    self._decoder.receive_data(bytes(view[plain:count]))
                if plain:
                    return plain
            self._rest = memoryview(await self.part_data() or b"")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    @property
    def _is_amidst(self) -> bool:
        """Whether the decoder is in the middle of a part's data and holds nothing back."""
        return self._in_part and self._decoder.state is State.DATA and not self._decoder.buffer

    def _plain_bytes(self, view: memoryview) -> int:
        """Return how many bytes of a part's data hold nothing of a boundary, whatever follows them."""
        at = find(view, self._marker)
        if at >= 0:
            return max(0, at - 2)  # the line break before it is the boundary's
        # the beginning of one may be all of it that has arrived
        last = bytes(view[max(0, len(view) - len(self._marker) - 1) :])
        for at in range(len(last)):
            end = last[at:]
            if any(beginning.startswith(end) for beginning in self._beginnings):
                return len(view) - len(end)
        return len(view)

    async def part_data(self) -> bytes | None:
        """Return the next piece of the present part, None at its end."""
        while self._in_part:
            event = await self._next_event()
            if not isinstance(event, Data):
                raise Shape("The multipart body is malformed.", code="bad_multipart")
            self._in_part = event.more_data
            if event.data:
                return event.data
        await trio.lowlevel.checkpoint()
        return None

    async def _next_event(self) -> object:
        await trio.lowlevel.checkpoint()  # one piece may hold thousands of small parts
        try:
            while (event := self._decoder.next_event()) is NEED_DATA:
                if self._decoder.state in (State.PREAMBLE, State.PART) and len(self._decoder.buffer) > MAX_HEAD_BYTES:
                    raise Shape("A part of the multipart body has too large a head.", code="bad_multipart")
                if self._decoder.state is State.EPILOGUE:
                    self._decoder.buffer.clear()  # text after the last boundary means nothing (RFC 2046 §5.1.1)
                await self._feed()
        except ValueError as error:
            raise Shape(f"The multipart body is malformed: {error}.", code="bad_multipart") from error
        return event

    async def _feed(self) -> None:
        chunk = await anext(self._body, None)
        if chunk is None and self._decoder.state not in (State.EPILOGUE, State.COMPLETE):
            raise Shape("The multipart body has no closing boundary.", code="truncated_upload")
        self._decoder.receive_data(chunk)
