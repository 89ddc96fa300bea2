"""Politeness towards the disk: a rate for reading, and the kernel's idle priority for the thread that reads."""

import ctypes
import logging
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lumiliod.storage import durable

log = logging.getLogger(__name__)

PAUSE_S = 0.05
"""How long a waiting thread sleeps before it asks whether its caller gave up."""

SHORTEST_S = 0.001
"""Waits that are shorter are left to the next one."""

_WHO_PROCESS, _THIS_THREAD = 1, 0
_CLASS_SHIFT = 13
_LOWEST = (3 << _CLASS_SHIFT, 2 << _CLASS_SHIFT | 7)
"""IOPRIO_CLASS_IDLE, else the last of IOPRIO_CLASS_BE (linux/ioprio.h)."""

_NUMBERS = {
    "x86_64": (251, 252), "i386": (289, 290), "i686": (289, 290), "armv7l": (314, 315), "armv6l": (314, 315),
    "ppc64le": (273, 274), "s390x": (282, 283), "aarch64": (30, 31), "riscv64": (30, 31), "loongarch64": (30, 31),
}  # fmt: skip
"""System call numbers of ioprio_set(2) and ioprio_get(2), which no C library wraps."""

_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long


def pause(seconds: float) -> None:
    """Sleep, and end at once with trio's Cancelled when the caller of this thread gives up."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        durable.check_cancelled()
        time.sleep(min(left_s, PAUSE_S))
    durable.check_cancelled()


class Throttle:
    """A token bucket: at most ``bytes_per_s`` on the long run, ``burst_bytes`` at once. Safe to share between threads.

    The generic cell rate algorithm (ITU-T I.371): one number, the time at which the bucket is full again.

    Args:
        bytes_per_s: the rate; 0 means no limit.
        burst_bytes: what may be taken at once after a rest.
        clock: seconds, monotonic.
        wait: blocks for so many seconds.
    """

    def __init__(
        self,
        bytes_per_s: float,
        *,
        burst_bytes: int = durable.BLOCK_BYTES,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = pause,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._burst_s = burst_bytes / bytes_per_s if bytes_per_s else 0.0
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._full_at_s = clock()

    def take(self, count: int) -> None:
        """Block until ``count`` bytes may be read. Ends with trio's Cancelled when its caller gives up."""
        if not self.bytes_per_s:
            return
        with self._lock:
            now_s = self._clock()
            self._full_at_s = max(self._full_at_s, now_s) + count / self.bytes_per_s
            wait_s = self._full_at_s - self._burst_s - now_s
        if wait_s > SHORTEST_S:
            self._wait(wait_s)


UNLIMITED = Throttle(0)
"""As fast as the disk gives it."""


@contextmanager
def idle_io() -> Iterator[None]:
    """Let this thread's reads come after everybody else's; what it had before is restored.

    Where the kernel has no idle class for us, the last place of the ordinary one; where there are no
    priorities at all, nothing.
    """
    before = _get()
    lowered = before is not None and any(_set(priority) for priority in _LOWEST)
    try:
        yield
    finally:
        if lowered and not (_set(before or 0) or _set(0)):
            log.warning("a thread keeps its low I/O priority")


def io_priority() -> int | None:
    """Return this thread's I/O priority as ioprio_get(2) tells it: class << 13 | level; None where there is none."""
    return _get()


def _get() -> int | None:
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        return None
    found = int(_syscall(ctypes.c_long(numbers[1]), ctypes.c_long(_WHO_PROCESS), ctypes.c_long(_THIS_THREAD)))
    return found if found >= 0 else None


def _set(priority: int) -> bool:
    numbers = _NUMBERS.get(platform.machine())
    if numbers is None:
        return False
    told = (numbers[0], _WHO_PROCESS, _THIS_THREAD, priority)
    return int(_syscall(*map(ctypes.c_long, told))) == 0
