import threading
from collections.abc import AsyncIterator

import pytest
import trio

from lumiliod.domain.errors import Refused
from lumiliod.storage.pump import BESIDE_BYTES, BLOCK_BYTES, BUFFERS, pump
from lumiliod.testing.sources import Chunks


class Held:
    """A sink that keeps what it is given, or fails once the sender can go no further."""

    def __init__(self, fails: bool = False) -> None:
        self.taken, self.hashed = bytearray(), bytearray()
        self.counted = 0
        self._fails = fails
        self._full = threading.Event()

    def count(self, size_bytes: int) -> None:
        self.counted += size_bytes
        if self.counted >= BUFFERS * BLOCK_BYTES:
            self._full.set()

    def write(self, block: memoryview) -> None:
        if self._fails:
            assert self._full.wait(20)
            raise Refused("too much", code="too_large")
        self.taken += block

    def hash(self, block: memoryview) -> None:
        self.hashed += block


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 70_000])
async def test_all_blocks_but_the_first_begin_at_multiples(offset: int) -> None:
    class Places(Held):
        def write(self, block: memoryview) -> None:
            places.append(offset + len(self.taken))
            super().write(block)

    places: list[int] = []
    await pump(Places(), Chunks([bytes(3 * BLOCK_BYTES)]), offset=offset)
    assert places[0] == offset
    assert [place % 4096 for place in places[1:]] == [0] * (len(places) - 1)


@pytest.mark.parametrize(
    "size", [0, 1, BESIDE_BYTES - 1, BESIDE_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES, 7 * BLOCK_BYTES + 5]
)
@pytest.mark.parametrize("piece", [1 << 12, BLOCK_BYTES, 3 * BLOCK_BYTES + 1])
async def test_every_byte_arrives_in_its_order(size: int, piece: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    sink = Held()
    await pump(sink, Chunks(content[at : at + piece] for at in range(0, size, piece)))
    assert sink.taken == sink.hashed == content
    assert sink.counted == size


@pytest.mark.parametrize("blocks", [BUFFERS, BUFFERS + 1, 3 * BUFFERS])
async def test_what_stopped_the_writer_is_what_is_told(blocks: int) -> None:
    """The sender waits for a block that nobody gives back: that is no error."""
    with pytest.raises(Refused):
        await pump(Held(fails=True), Chunks(bytes(BLOCK_BYTES) for _ in range(blocks)))


async def test_what_stopped_the_sender_is_what_is_told() -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(BUFFERS):
            yield bytes(BLOCK_BYTES)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await pump(Held(), Chunks(broken()))


async def test_a_cancelled_pump_ends() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(BLOCK_BYTES + 1)
        await trio.sleep_forever()

    with trio.move_on_after(0.05) as scope:
        await pump(Held(), Chunks(stalled()))
    assert scope.cancelled_caught
