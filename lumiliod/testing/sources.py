"""Bytes for whatever takes them from a connection: :class:`lumiliod.storage.pump.Source` without one."""

from collections.abc import AsyncIterator, Iterable

import trio

from lumiliod.storage.pump import Source


class Chunks:
    """Bytes as a connection brings them: in pieces, with a checkpoint before each."""

    def __init__(self, parts: Iterable[bytes] | AsyncIterator[bytes]) -> None:
        self._parts = parts if isinstance(parts, AsyncIterator) else iter(parts)
        self._rest = memoryview(b"")

    async def read_into(self, view: memoryview) -> int:
        """Put the next bytes at the beginning of ``view``; return how many, 0 at the end."""
        while not self._rest:
            await trio.lowlevel.checkpoint()
            if isinstance(self._parts, AsyncIterator):
                part = await anext(self._parts, None)
            else:
                part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


async def read_all(source: Source, piece_bytes: int = 1 << 20) -> bytes:
    """Return everything that ``source`` gives, asked for in pieces of a size."""
    content = bytearray()
    with memoryview(bytearray(piece_bytes)) as view:
        while count := await source.read_into(view):
            content += view[:count]
    return bytes(content)
