"""Processes that hash files, a few, while much is hashed.

Threads that hash wait for each other between any two calls, for the interpreter, and have to copy what they hash out of
the page cache: who maps a file that is cut, or that has a bad sector, is ended by SIGBUS. A process that does nothing
else may map. Where the processor hashes as fast as memory copies, that spares a fifth of the time. Whoever gets no
answer from one hashes by itself: nothing depends on them.
"""

import logging
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import trio

from lumiliod.domain.ids import Digest
from lumiliod.storage import durable
from lumiliod.storage.hasher import REFUSED, REQUEST_BYTES

log = logging.getLogger(__name__)

LEAST_BYTES = 1 << 20
"""A smaller file is hashed in the time that it takes to be handed over."""
MUCH_BYTES = 256 << 20
"""When so much was to be hashed without a rest, a process, which takes 20 ms of a core to start, is worth it."""
IDLE_S = 60.0
"""A rest: then they end."""
WAIT_S = 0.05
"""How long to wait for one that is busy: some photographs take ten milliseconds, a film, or a slow disk, anything."""
QUICK_S = 0.05
"""An answer that takes no longer shows a file from memory, or a quick disk: more than one may be asked for then."""
ASK_S = 0.25
"""How often one who waits for an answer asks whether its caller gave up."""
FAILURES_MAX, PAUSE_S = 3, 600.0
"""So many that end by themselves one after the other, and none is used for a while: disks fail, memory runs out."""
REAP_LIMIT_S = 5.0
"""How long a killed process may take to go; longer only in uninterruptible sleep."""
_DIGEST_BYTES = 32


class Hasher:
    """One process and the socket to it; it serves one thread at a time. Its making raises OSError.

    It ``has_ended`` when it cannot answer any more, and ``is_quick`` when its last answer was there within ``QUICK_S``.
    """

    def __init__(self) -> None:
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(ASK_S)
        self.has_ended = self.is_quick = False
        self._awaited = 0
        try:
            with its:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "lumiliod.storage.hasher"],
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # the terminal's Ctrl-C is for the daemon
                )
        except BaseException:
            self._socket.close()
            raise

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def is_well(self) -> bool:
        """Tell whether it can be asked by somebody else: it has not ended, and no answer was left to come."""
        return not self.has_ended and not self._awaited

    def ask(self, fd: int, size_bytes: int) -> bool:
        """Ask for the digest of an open file of so many bytes; tell whether there will be an :meth:`answer`.

        There is none for a small file. What is asked is answered in its order; of ``fd`` nothing is needed afterwards.
        """
        if size_bytes < LEAST_BYTES or self.has_ended:
            return False
        try:
            socket.send_fds(self._socket, [size_bytes.to_bytes(REQUEST_BYTES, "big")], [fd])
        except OSError:
            self.has_ended = True
            return False
        self._awaited += 1
        return True

    def answer(self) -> Digest | None:
        """Wait for the next digest; None where a file cannot be mapped, or the process has ended.

        In a thread of trio it ends soon when its caller is cancelled: the
        answer is left to come then.
        """
        if self.has_ended:
            return None
        began_s = time.monotonic()
        answer = self._received()
        self._awaited -= 1
        self.is_quick = time.monotonic() - began_s < QUICK_S
        if len(answer) == _DIGEST_BYTES:
            return Digest(answer.hex())
        self.has_ended = answer != REFUSED
        return None

    def kill(self) -> None:
        """End the process, whatever it does; who waits for it gets no answer."""
        self._process.kill()

    def close(self) -> None:
        """End the process and reap it, if it goes; nobody must be waiting for it."""
        self.has_ended = True
        self._socket.close()
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_LIMIT_S)

    @property
    def status(self) -> int | None:
        """Return its exit status, the negative number of the signal that ended it, or None while it has not gone."""
        return self._process.poll()

    def _received(self) -> bytes:
        while True:
            try:
                return self._socket.recv(_DIGEST_BYTES)
            except TimeoutError:
                durable.check_cancelled()
            except OSError:
                return b""


class Hashers:
    """At most ``most`` processes that hash, started when much is to be hashed. Safe to share between threads."""

    def __init__(self, most: int, *, much_bytes: int = MUCH_BYTES, idle_s: float = IDLE_S) -> None:
        self._most = most
        self._much_bytes, self.idle_s = much_bytes, idle_s
        self._lock = threading.Lock()
        self._free = queue.SimpleQueue[Hasher]()
        self._all = set[Hasher]()
        self._failures = 0
        self._offered_bytes = 0
        self._offered_s = self._not_before_s = time.monotonic()

    @property
    def pids(self) -> frozenset[int]:
        """Return the process ids of those there are."""
        with self._lock:
            return frozenset(hasher.pid for hasher in self._all)

    @contextmanager
    def lent(self, sizes_bytes: Iterable[int]) -> Iterator[Hasher | None]:
        """Lend one for files of such sizes; None where they are better hashed here. Blocks for a moment."""
        hasher = self._wanted(sum(size for size in sizes_bytes if size >= LEAST_BYTES))
        if hasher is None:
            yield None
            return
        try:
            yield hasher
        finally:
            self._take_back(hasher)

    def rest(self) -> None:
        """End them all if nothing was to be hashed for a while."""
        with self._lock:
            if time.monotonic() - self._offered_s < self.idle_s:
                return
        self._close_free()

    def close(self) -> None:
        """End them all; none is lent any more. A busy one gives no answer and is closed by who waits for that."""
        with self._lock:
            self._most = 0
            for hasher in self._all:
                hasher.kill()
        self._close_free()

    def _wanted(self, size_bytes: int) -> Hasher | None:
        if not size_bytes or not self._most:
            return None
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._offered_s > self.idle_s:
                self._offered_bytes = 0
            self._offered_s = now_s
            self._offered_bytes += size_bytes
            if now_s < self._not_before_s or self._offered_bytes < self._much_bytes:
                return None
            missing = len(self._all) < self._most
        try:
            return self._free.get(timeout=0 if missing else WAIT_S)
        except queue.Empty:
            return self._started() if missing else None

    def _started(self) -> Hasher | None:
        try:
            with self._lock:
                # those that hung in a disk may have gone
                self._all = {one for one in self._all if not one.has_ended or one.status is None}
                if len(self._all) >= self._most:
                    return None
                hasher = Hasher()
                self._all.add(hasher)
                return hasher
        except OSError as error:
            self._note_failure(str(error))
            return None

    def _note_failure(self, why: str) -> None:
        with self._lock:
            self._failures += 1
            if self._failures < FAILURES_MAX or not self._most:
                return
            self._failures, self._not_before_s = 0, time.monotonic() + PAUSE_S
        extra = {"reason": why, "pause_s": PAUSE_S}
        log.warning("processes that hash end by themselves: files are hashed without", extra=extra)

    def _take_back(self, hasher: Hasher) -> None:
        with self._lock:
            is_kept = hasher.is_well and self._most > 0
            if is_kept:
                self._failures = 0
                self._free.put(hasher)
        if not is_kept:
            is_failure = hasher.has_ended
            self._close(hasher)
            if is_failure:
                self._note_failure(f"exit status {hasher.status}")

    def _close_free(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._close(self._free.get_nowait())

    def _close(self, hasher: Hasher) -> None:
        """End one; while it hangs in a disk it counts as one that there is."""
        hasher.close()
        if hasher.status is not None:
            with self._lock:
                self._all.discard(hasher)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@asynccontextmanager
async def opened(*, much_bytes: int = MUCH_BYTES, idle_s: float = IDLE_S) -> AsyncIterator[Hashers]:
    """Give as many hashers as there are cores; they end when they rest, and at the end."""
    hashers = Hashers(len(os.sched_getaffinity(0)), much_bytes=much_bytes, idle_s=idle_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tend, hashers)
        try:
            yield hashers
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(hashers.close, limiter=trio.CapacityLimiter(1))


async def _tend(hashers: Hashers) -> None:
    own = trio.CapacityLimiter(1)  # other threads may all wait for disks
    while True:
        await trio.sleep(hashers.idle_s / 2)
        with suppress(RuntimeError):  # the system gives no thread now
            await trio.to_thread.run_sync(hashers.rest, limiter=own)
