"""A pool of media workers: started when first needed, one request each, killed and replaced when they misbehave."""

import array
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from lumiliod.domain.errors import LumilioError, Permanent, Refused, Retryable, Unavailable
from lumiliod.media import confinement
from lumiliod.media.wire import MAX_FRAME_BYTES, Advanced, Answer, Failed, Ready, Request, Setup, frame, is_sound

log = logging.getLogger(__name__)

START_LIMIT_S = 120.0
"""How long the imports of a worker may take, on a slow disk."""
REQUESTS_PER_WORKER = 2000
"""A worker retires after so many, and with it whatever its libraries leaked."""
RESTING_SHARE, RESTING_LEAST_BYTES = 0.25, 256 << 20
"""One that keeps more than this share of its memory limit between requests retires, too."""
ATTEMPTS = 2
"""A file that ends or outlasts this many workers is to blame."""
STALLED_SHARE = 0.25
"""A process that used or queued for less than this share of its time waited: for a disk, or stopped."""
STALLED_AFTER_S = 30.0
"""When it makes sense to try again what a disk held up."""
REAP_LIMIT_S = 5.0
"""How long a killed process may take to go; longer only in uninterruptible sleep."""
CLOSE_LIMIT_S = 20.0
"""Bound of everything that awaits while being closed or cancelled."""

Advance = Callable[[float], Awaitable[None]]
"""Told the share of a request that is done, 0 to 1."""

_ERRORS: dict[str, type[LumilioError]] = {
    "permanent": Permanent,
    "refused": Refused,
    "unavailable": Unavailable,
}
_ANSWERS: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


class WorkerDied(Exception):
    """The worker's socket closed in the middle of a request, or what came is no answer."""


class Late(Exception):
    """No answer within the wall-clock limit; ``is_stalled`` when the process hardly worked in that time."""

    def __init__(self, is_stalled: bool) -> None:
        super().__init__()
        self.is_stalled = is_stalled


class Worker:
    """One worker process and the socket to it."""

    def __init__(self, process: trio.Process, stream: trio.SocketStream) -> None:
        self.process = process
        self.requests_left = REQUESTS_PER_WORKER
        self._stream = stream
        self._received = bytearray()

    @property
    def has_said_more(self) -> bool:
        """Tell whether more came than was asked for."""
        return bool(self._received)

    async def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send one frame, and descriptors with it.

        Raises:
            WorkerDied: nobody reads any more.
        """
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sent = await self._stream.socket.sendmsg([data], passed)
            await self._stream.send_all(data[sent:])
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WorkerDied from error

    async def receive(self) -> bytes:
        """Return the next frame's payload.

        Raises:
            WorkerDied: the socket closed first, or what came is no frame.
        """
        header = await self._take(4)
        length = int.from_bytes(header, "big")
        if length > MAX_FRAME_BYTES:
            raise WorkerDied
        return await self._take(length)

    async def end(self) -> None:
        """Kill and reap it, even in a cancelled scope."""
        await end_process(self.process)
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await self._stream.aclose()

    async def _take(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while len(self._received) < count:
            try:
                chunk = await self._stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise WorkerDied from error
            if not chunk:
                raise WorkerDied
            self._received += chunk
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken


class Sandbox:
    """Runs requests in worker processes, at most ``workers`` at a time, first come first served."""

    def __init__(self, setup: Setup, workers: int, wall_limit_s: float) -> None:
        self._setup = setup
        self._slots = trio.Semaphore(workers)
        self._wall_limit_s = wall_limit_s
        self._resting_bytes = max(RESTING_LEAST_BYTES, int(setup.memory_limit_bytes * RESTING_SHARE))
        self._idle: list[Worker] = []
        self._alive: set[Worker] = set()
        self._in_force: tuple[str, ...] | None = None
        self.libraries: dict[str, str] = {}

    @property
    def protections(self) -> tuple[str, ...]:
        """Return what a worker says that keeps it from the rest of the machine; until one does, what the kernel has."""
        return confinement.offered() if self._in_force is None else self._in_force

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers alive now."""
        return tuple(worker.process.pid for worker in self._alive)

    async def ask(self, request: Request, *files: int, advance: Advance | None = None) -> Answer:
        """Return a worker's answer about the file that is open as the first of ``files``.

        What fails once, by the end of its worker or past the wall-clock limit, is asked again of a fresh one. Word of
        how far it is goes to ``advance``, and the limit begins anew each time.

        Raises:
            LumilioError: what the worker said of the file; ``poison`` when it ended the last worker,
                ``timeout`` when it outlasted it. Retryable: ``stalled`` when a worker waited instead
                of working, ``no_worker`` when none can be started.
        """
        late: Late | None = None
        is_stalled = False
        async with self._slots:
            for attempt in range(ATTEMPTS):
                try:
                    answer = await self._asked_once(request, files, advance, fresh=attempt > 0)
                except WorkerDied:
                    late = None
                except Late as error:
                    late = error
                    is_stalled = is_stalled or error.is_stalled
                else:
                    if isinstance(answer, Failed):
                        raise _ERRORS[answer.kind](answer.message, code=answer.code)
                    return answer
        if is_stalled:
            raise stalled(self._wall_limit_s)
        if late is not None:
            raise Permanent(f"not decoded within {self._wall_limit_s:g} s", code="timeout")
        raise Permanent("the file ended two media workers", code="poison")

    async def close(self) -> None:
        """Kill and reap every worker."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        for worker in tuple(self._alive):
            await self._end(worker)

    async def _asked_once(
        self, request: Request, files: Sequence[int], advance: Advance | None, *, fresh: bool
    ) -> Answer:
        worker = self._idle.pop() if self._idle and not fresh else await self._started()
        is_healthy = False
        try:
            answer = await self._answered(worker, request, files, advance)
            worker.requests_left -= 1
            is_spent = worker.requests_left <= 0 or resident_bytes(worker.process.pid) > self._resting_bytes
            is_healthy = not is_spent and not worker.has_said_more
            return answer
        finally:
            if is_healthy:
                self._idle.append(worker)
            else:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await self._end(worker)

    async def _answered(
        self, worker: Worker, request: Request, files: Sequence[int], advance: Advance | None
    ) -> Answer:
        """Return what a worker answers.

        Raises:
            WorkerDied: it ended, or said what no honest worker says.
            Late: it said nothing for the wall-clock limit.
        """
        is_sent = False
        while True:
            before_s, payload = busy_seconds(worker.process.pid), b""
            with trio.move_on_after(self._wall_limit_s) as scope:
                if not is_sent:
                    await worker.send(frame(request), files)
                    is_sent = True
                payload = await worker.receive()
            if scope.cancelled_caught:
                raise Late(has_stalled(worker.process.pid, before_s, self._wall_limit_s))
            try:
                answer = _ANSWERS.decode(payload)
            except msgspec.DecodeError as error:
                raise WorkerDied from error
            if not is_sound(answer, request, self._setup):
                raise WorkerDied
            if not isinstance(answer, Advanced):
                return answer
            if advance is not None:
                await advance(answer.share)

    async def _started(self) -> Worker:
        """Start a worker and wait until its imports are warm.

        Raises:
            Retryable: ``no_worker``; the file is not to blame.
        """
        own, its = socket.socketpair()
        with its, contextlib.ExitStack() as stack:
            stack.enter_context(own)
            process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "lumiliod.media.worker"],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # the terminal's Ctrl-C is for the daemon
            )
            stack.pop_all()
        worker = Worker(process, trio.SocketStream(trio.socket.from_stdlib_socket(own)))
        self._alive.add(worker)
        is_ready = False
        try:
            with trio.move_on_after(START_LIMIT_S):
                await worker.send(frame(self._setup))
                self._note(msgspec.msgpack.decode(await worker.receive(), type=Ready))
                is_ready = True
                return worker
        except (WorkerDied, msgspec.DecodeError) as error:
            raise Unavailable("a media worker does not start", code="no_worker", after_s=30.0) from error
        finally:
            if not is_ready:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await self._end(worker)
        raise Unavailable("a media worker does not start in time", code="no_worker", after_s=30.0)

    def _note(self, ready: Ready) -> None:
        """Remember what a worker says of itself, and log once what it lacks."""
        self.libraries = ready.libraries
        if ready.protections != self._in_force:
            self._in_force = ready.protections
            lacking = confinement.missing(ready.protections)
            level = logging.WARNING if lacking else logging.INFO
            log.log(level, "sandbox: %s", ", ".join(ready.protections) or "none", extra={"lacking": lacking})

    async def _end(self, worker: Worker) -> None:
        """Kill a worker and reap it, cancelled or not."""
        self._alive.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        await worker.end()


@asynccontextmanager
async def opened(setup: Setup, workers: int, wall_limit_s: float) -> AsyncIterator[Sandbox]:
    """Hand out a sandbox; no worker outlives the block."""
    sandbox = Sandbox(setup, workers, wall_limit_s)
    try:
        yield sandbox
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await sandbox.close()


def cpu_seconds(pid: int) -> float:
    """Return how long a process used the processor so far, all its threads together; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # utime and stime, fields 14 and 15 of proc_pid_stat(5)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def busy_seconds(pid: int) -> float:
    """Return how long a process used the processor, all its threads together, and its first one queued for it.

    0 when it is gone.
    """
    try:
        queued_ns = int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1])
    except (FileNotFoundError, ProcessLookupError):  # gone, or a kernel that keeps no such record
        queued_ns = 0
    return cpu_seconds(pid) + queued_ns / 1e9


def resident_bytes(pid: int) -> int:
    """Return the memory a process holds; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def has_stalled(pid: int, before_s: float, limit_s: float) -> bool:
    """Tell whether a process that ran out of its ``limit_s`` spent them waiting."""
    return busy_seconds(pid) - before_s < STALLED_SHARE * limit_s


def stalled(limit_s: float) -> Retryable:
    """Return the error of work that was held up: it says nothing of the file, but not every time."""
    return Retryable(
        f"nothing was done for {limit_s:g} s: the disk or the machine is held up",
        code="stalled",
        after_s=STALLED_AFTER_S,
    )


async def end_process(process: trio.Process) -> None:
    """Kill ``process`` and whatever it started and reap it, even in a cancelled scope.

    It must lead a process group of its own.
    """
    started = _stopped_tree(process.pid) if process.poll() is None else []
    # the group outlives its leader while anything is in it: a grandchild holds no file or core for long
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for pid in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with trio.move_on_after(REAP_LIMIT_S, shield=True):
        await process.wait()


def _stopped_tree(pid: int) -> list[int]:
    """Stop a process and all below it, whatever session they are in; return those below.

    One that is stopped starts nothing more, so what is found is everything.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [below for child in children for below in _stopped_tree(child)]


def _environment() -> dict[str, str]:
    """Return what a worker may know of ours: its import path and one thread for every library."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "OPENCV_FOR")}
    return (
        kept
        | threads
        | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "MALLOC_ARENA_MAX": "2",
            "OPENCV_LOG_LEVEL": "SILENT",
        }
    )
