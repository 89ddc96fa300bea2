"""From a connection to a disk: blocks are written and hashed while the next ones arrive, in constant memory."""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import trio

from lumiliod.domain.errors import Unavailable
from lumiliod.storage import durable
from lumiliod.storage.repository import Repository

_Result = TypeVar("_Result")
_Args = TypeVarTuple("_Args")
_THREADS = trio.CapacityLimiter(16)


class Sink(Protocol):
    """Where bytes go."""

    def count(self, size_bytes: int) -> None:
        """Count arriving bytes against the limits; raises to refuse them."""
        ...

    def write(self, block: bytes | bytearray) -> None:
        """Write one block. Blocks."""
        ...


async def pump(sink: Sink, chunks: AsyncIterator[bytes]) -> None:
    """Write ``chunks`` to ``sink`` in blocks of 1 MiB, the last one shorter.

    Raises:
        BaseException: what stopped it first, the chunks' own error or the sink's.
    """
    try:
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[bytes | bytearray](0)
            nursery.start_soon(_write_blocks, sink, receive)
            async with send:
                await _gather_blocks(sink, chunks, send)
    except BaseExceptionGroup as group:
        raise _first_error(group) from None


def check_room(repo: Repository, size_bytes: int, min_free_bytes: int) -> None:
    """Make sure that ``size_bytes`` more leave enough room on the repository's disk. Blocks.

    Raises:
        Unavailable: they do not (``no_space``). OSError.
    """
    disk = os.statvfs(repo.incoming)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes - size_bytes < min_free_bytes:
        message = f"{free_bytes} bytes are free where {min_free_bytes} have to stay free"
        raise Unavailable(message, code="no_space", after_s=60, free_bytes=free_bytes)


async def in_thread(fn: Callable[[Unpack[_Args]], _Result], *args: *_Args) -> _Result:
    """Run ``fn`` in one of the threads that uploads may use."""
    return await trio.to_thread.run_sync(fn, *args, limiter=_THREADS)


async def _gather_blocks(
    sink: Sink, chunks: AsyncIterator[bytes], send: trio.MemorySendChannel[bytes | bytearray]
) -> None:
    """Hand on ``chunks`` in blocks; the channel has no room, so sending waits for the write before."""
    block = bytearray()
    async for chunk in chunks:
        sink.count(len(chunk))
        if not block and len(chunk) >= durable.BLOCK_BYTES:
            await send.send(chunk)
            continue
        view = memoryview(chunk)
        while view:
            room = durable.BLOCK_BYTES - len(block)
            block += view[:room]
            view = view[room:]
            if len(block) == durable.BLOCK_BYTES:
                await send.send(block)
                block = bytearray()
    if block:
        await send.send(block)


async def _write_blocks(sink: Sink, receive: trio.MemoryReceiveChannel[bytes | bytearray]) -> None:
    async with receive:
        async for block in receive:
            await in_thread(sink.write, block)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that stopped it; cancellation only when there is nothing else."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)), group)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
