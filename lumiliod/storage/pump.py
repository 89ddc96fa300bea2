"""From a connection to a disk: each block is written and hashed while the next one arrives, in constant memory."""

import os
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

import trio

from lumiliod.domain.errors import Refused, Unavailable
from lumiliod.domain.text import size_text
from lumiliod.storage import appending
from lumiliod.storage.repository import Repository

_Result = TypeVar("_Result")
_Args = TypeVarTuple("_Args")
_THREADS = trio.CapacityLimiter(16)

BLOCK_BYTES = 2 << 20
"""What is written and hashed at once; larger gains nothing, smaller costs a change of threads more often."""

BUFFERS = 3
"""Blocks that one upload has in memory: one arrives, one waits, one is written."""

BESIDE_BYTES = 256 << 10
"""What is shorter is written and hashed one after the other: a second thread would take longer to wake."""

QUOTA_HINT = "make room (`lumilio assets remove`, `lumilio trash empty`) or have the limit raised (`lumilio quota set`)"
"""What can be done by whoever may keep no more."""


class Source(Protocol):
    """Where bytes come from."""

    async def read_into(self, view: memoryview) -> int:
        """Put the next bytes at the beginning of ``view``, which has room; return how many, 0 at the end."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    def count(self, size_bytes: int) -> None:
        """Count arriving bytes against the limits; raises to refuse them."""
        ...

    def write(self, block: memoryview) -> None:
        """Write one block, which is only lent. Blocks."""
        ...

    def hash(self, block: memoryview) -> None:
        """Hash one block, which is only lent, beside or after it is written. Blocks."""
        ...


async def pump(sink: Sink, source: Source, *, offset: int = 0) -> None:
    """Write ``source`` to ``sink`` in blocks, the last one shorter.

    The blocks' memory is used again and again: what was just written is still in the processor's cache.

    Args:
        sink: where to.
        source: where from.
        offset: where in its file the first byte goes; all blocks but the first begin at multiples.

    Raises:
        BaseException: what stopped it first, the source's own error or the sink's.
    """
    full_in, full = trio.open_memory_channel[tuple[memoryview, int]](BUFFERS)
    free_in, free = trio.open_memory_channel[memoryview](BUFFERS)
    try:
        # whoever fails closes nothing: the other one would take that for an error of its own
        with full, free, free_in:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write_blocks, sink, full, free_in)
                async with full_in:
                    await _fill_blocks(sink, source, full_in, free, BLOCK_BYTES - appending.lead_bytes(offset))
    except BaseExceptionGroup as group:
        raise _first_error(group) from None


def check_room(repo: Repository, size_bytes: int, min_free_bytes: int, *, reserved_bytes: int = 0) -> None:
    """Make sure that ``size_bytes`` more leave enough room on the repository's disk, where some is reserved. Blocks.

    Raises:
        Unavailable: they do not (``no_space``). OSError.
    """
    disk = os.statvfs(repo.incoming)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes - reserved_bytes - size_bytes < min_free_bytes:
        message = (
            f"{size_text(size_bytes)} more are wanted and {size_text(free_bytes)} are free, of which"
            f" {size_text(reserved_bytes)} are reserved for uploads under way and {size_text(min_free_bytes)} stay free"
        )
        raise Unavailable(message, code="no_space", after_s=60, free_bytes=free_bytes)


def check_quota(size_bytes: int, quota_bytes: int | None) -> None:
    """Make sure that no more bytes arrive than their owner may keep; None for any number.

    Raises:
        Refused: they do (``quota_exceeded``).
    """
    if quota_bytes is not None and size_bytes > quota_bytes:
        message = f"this needs more than the {size_text(quota_bytes)} left of what its owner may keep; {QUOTA_HINT}"
        raise Refused(message, code="quota_exceeded", left_bytes=quota_bytes)


async def in_thread(fn: Callable[[Unpack[_Args]], _Result], *args: *_Args) -> _Result:
    """Run ``fn`` in one of the threads that uploads may use."""
    return await trio.to_thread.run_sync(fn, *args, limiter=_THREADS)


async def _fill_blocks(
    sink: Sink,
    source: Source,
    full: trio.MemorySendChannel[tuple[memoryview, int]],
    free: trio.MemoryReceiveChannel[memoryview],
    first_bytes: int,
) -> None:
    """Fill block after block, one that was written already where there is one."""
    made, wanted = 0, first_bytes
    while True:
        try:
            block = free.receive_nowait()
        except trio.WouldBlock:
            if made < BUFFERS:
                block = memoryview(appending.block(BLOCK_BYTES))
                made += 1
            else:
                block = await free.receive()
        filled = 0
        while filled < wanted:
            with block[filled:wanted] as room:
                size_bytes = await source.read_into(room)
            if not size_bytes:
                break
            sink.count(size_bytes)
            filled += size_bytes
        if filled:
            await full.send((block, filled))
        if filled < wanted:
            return
        wanted = BLOCK_BYTES


async def _write_blocks(
    sink: Sink,
    full: trio.MemoryReceiveChannel[tuple[memoryview, int]],
    free: trio.MemorySendChannel[memoryview],
) -> None:
    async for block, filled in full:
        with block[:filled] as content:
            if filled < BESIDE_BYTES:
                await in_thread(_write_and_hash, sink, content)
            else:
                async with trio.open_nursery() as beside:
                    beside.start_soon(in_thread, sink.hash, content)
                    await in_thread(sink.write, content)
        free.send_nowait(block)


def _write_and_hash(sink: Sink, content: memoryview) -> None:
    sink.write(content)
    sink.hash(content)


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
