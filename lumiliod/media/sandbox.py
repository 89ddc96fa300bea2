"""A pool of media workers: started when first needed, one request each, killed and replaced when they misbehave."""

import array
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import trio

from lumiliod.domain.errors import LumilioError, Permanent, Refused, Unavailable
from lumiliod.media import confinement
from lumiliod.media.forkserver import Child, ForkServer
from lumiliod.media.processes import CLOSE_LIMIT_S, REAP_LIMIT_S, Vitals, has_stalled, stalled
from lumiliod.media.wire import (
    MAX_FRAME_BYTES,
    Advanced,
    Answer,
    Failed,
    InspectAll,
    Known,
    KnownAll,
    Ready,
    Request,
    Setup,
    frame,
    is_sound,
)

log = logging.getLogger(__name__)

START_LIMIT_S = 20.0
"""How long a worker may take to give up what it does not need."""
RECEIVE_BYTES = 64 << 10
REQUESTS_PER_WORKER = 2000
"""A worker retires after so many, and with it whatever its libraries leaked."""
RESTING_SHARE, RESTING_LEAST_BYTES = 0.25, 256 << 20
"""One that keeps more than this share of its memory limit between requests retires, too."""
ATTEMPTS = 2
"""A file that ends or outlasts this many workers is to blame."""

Advance = Callable[[float], Awaitable[None]]
"""Told the share of a request that is done, 0 to 1."""

_ERRORS: dict[str, type[LumilioError]] = {
    "permanent": Permanent,
    "refused": Refused,
    "unavailable": Unavailable,
}
_ANSWERS: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class WorkerDied(Exception):
    """The worker's socket closed in the middle of a request, or what came is no answer."""


class Late(Exception):
    """No answer within the wall-clock limit; ``is_stalled`` when the process hardly worked in that time."""

    def __init__(self, is_stalled: bool) -> None:
        super().__init__()
        self.is_stalled = is_stalled


class Worker:
    """One worker process and the socket to it."""

    def __init__(self, process: Child, stream: trio.SocketStream) -> None:
        self.process = process
        self.vitals = Vitals(process.pid)
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
        self.vitals.close()
        await self.process.end()
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await self._stream.aclose()

    async def _take(self, count: int) -> bytes:
        await trio.lowlevel.checkpoint()
        while len(self._received) < count:
            try:
                chunk = await self._stream.receive_some(max(RECEIVE_BYTES, count - len(self._received)))
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

    def __init__(self, forks: ForkServer, setup: Setup, workers: int, wall_limit_s: float) -> None:
        self._forks = forks
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
                    self._forks.note_ended()
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

    async def ask_of_all(self, *files: int) -> tuple[Known | Failed, ...] | None:
        """Return a worker's answers about the files that are open as ``files``: what each is.

        None where one of them ended or outlasted it: whoever wants to know which asks of each.
        """
        async with self._slots:
            try:
                answer = await self._asked_once(InspectAll(len(files)), files, None, fresh=False)
            except WorkerDied:
                self._forks.note_ended()
                return None
            except Late:
                return None
        return answer.answers if isinstance(answer, KnownAll) else None

    async def start(self) -> None:
        """Have a worker ready before anything is asked.

        Raises:
            Unavailable: ``no_worker``.
        """
        self._idle.append(await self._started())

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
            is_healthy = not (self._is_spent(worker) or worker.has_said_more)
            return answer
        finally:
            if is_healthy:
                self._idle.append(worker)
            else:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await self._end(worker)

    def _is_spent(self, worker: Worker) -> bool:
        """Tell whether a worker has answered its last request."""
        # one that could keep a descriptor it may write to never sees another's original
        if self._setup.writes_files or worker.process.is_orphan:
            return True
        return worker.requests_left <= 0 or worker.vitals.resident_bytes() > self._resting_bytes

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
            before_s, payload = worker.vitals.busy_s(), b""
            with trio.move_on_after(self._wall_limit_s) as scope:
                if not is_sent:
                    await worker.send(frame(request), files)
                    is_sent = True
                payload = await worker.receive()
            if scope.cancelled_caught:
                raise Late(has_stalled(worker.vitals.busy_s() - before_s, self._wall_limit_s))
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
        """Start a worker and wait until it has given up what it does not need.

        Raises:
            Retryable: ``no_worker``; the file is not to blame.
        """
        process, own = await self._forks.start()
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
async def opened(forks: ForkServer, setup: Setup, workers: int, wall_limit_s: float) -> AsyncIterator[Sandbox]:
    """Hand out a sandbox; no worker outlives the block."""
    sandbox = Sandbox(forks, setup, workers, wall_limit_s)
    try:
        yield sandbox
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await sandbox.close()
