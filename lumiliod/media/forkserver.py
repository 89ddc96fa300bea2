"""The fork server: has a zygote fork media workers, and ends them.

A worker that is killed is replaced within milliseconds, and the memory of what all import is there once.
"""

import array
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from lumiliod.domain.errors import Unavailable
from lumiliod.media.processes import CLOSE_LIMIT_S, REAP_LIMIT_S, end_process, environment, stopped_tree
from lumiliod.media.wire import Failed, Fork, Reap, Spawned, Warm, frame

START_LIMIT_S = 120.0
"""How long the imports may take, on a slow disk."""
FORK_LIMIT_S = 10.0
"""How long a fork may take, on a machine that has no memory left."""
END_LIMIT_S = 1.0
"""How long a zygote may take to end by itself."""
ENDED_MAX = 16
"""A zygote of which files ended so many workers is replaced."""
NO_WORKER_AFTER_S = 30.0


class Child:
    """A media worker's process, a child of the zygote: it keeps its id until it is reaped."""

    def __init__(self, pid: int, zygote: "_Zygote") -> None:
        self.pid = pid
        self._pidfd: int | None = os.pidfd_open(pid)
        self._zygote = zygote
        zygote.children += 1

    @property
    def is_orphan(self) -> bool:
        """Tell whether its zygote is gone, or no longer to be used."""
        return self._zygote.is_retired or self._is_alone

    @property
    def _is_alone(self) -> bool:
        """Tell whether nobody of ours would reap it."""
        return self._zygote.is_broken or self._zygote.process.poll() is not None

    async def end(self) -> None:
        """Kill it and whatever it started, and have it reaped, even in a cancelled scope."""
        if self._pidfd is None:
            return
        pidfd, self._pidfd = self._pidfd, None
        try:
            # its id is its own until it is reaped, which is ours to order while its zygote lives
            if not _has_ended(pidfd):
                for pid in stopped_tree(self.pid):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not self._is_alone:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
            with trio.move_on_after(REAP_LIMIT_S, shield=True):
                await trio.lowlevel.wait_readable(pidfd)
        finally:
            has_ended = _has_ended(pidfd)
            os.close(pidfd)
        if has_ended:  # longer only in uninterruptible sleep: it is left to the zygote's end
            with trio.move_on_after(REAP_LIMIT_S, shield=True):
                await self._zygote.reap(self.pid)
        self._zygote.children -= 1


class _Zygote:
    """One zygote and the socket to it."""

    def __init__(self, process: trio.Process, control: socket.socket) -> None:
        self.process = process
        self.is_broken = self.is_retired = False
        self.children = 0
        self._control = trio.socket.from_stdlib_socket(control)
        self._asking = trio.Lock()

    async def warmed(self, media_types: tuple[str, ...]) -> None:
        """Have it import media types. One that is given up in the middle is to be ended.

        Raises:
            OSError: it does not answer any more. Unavailable: ``no_worker``, what it is to import cannot be.
        """
        async with self._asking:
            await self._asked(Warm(media_types))

    async def forked(self, socket_descriptor: int) -> int:
        """Return the process id of a new worker, which serves a socket.

        A caller that is cancelled waits for the answer all the same: the next one would take it for its own.

        Raises:
            OSError: it does not answer any more, or not in time. Unavailable: ``no_worker``, it cannot fork now.
        """
        async with self._asking:
            if self.is_broken:
                raise ConnectionResetError("the zygote did not answer before")
            with trio.move_on_after(FORK_LIMIT_S, shield=True):
                return await self._asked(Fork(), socket_descriptor)
            raise TimeoutError("the zygote does not answer")

    async def _asked(self, order: Warm | Fork, *descriptors: int) -> int:
        is_answered = False
        try:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            await self._control.sendmsg([frame(order)], passed)
            header = await self._exactly(4)
            payload = await self._exactly(int.from_bytes(header, "big"))
            answer = msgspec.msgpack.decode(payload, type=Spawned | Failed)
            is_answered = True
        finally:
            self.is_broken = self.is_broken or not is_answered
        if isinstance(answer, Failed):
            raise _no_worker(answer.message)
        return answer.pid

    async def reap(self, pid: int) -> None:
        """Have a child that has ended reaped."""
        async with self._asking:
            with contextlib.suppress(OSError):
                await self._control.send(frame(Reap(pid)))

    async def end(self) -> None:
        """Have it end, or kill it, and reap it, even in a cancelled scope.

        It reaps first what it was told to: its children would be left to whoever reaps orphans, and a container may
        have nobody who does.
        """
        self._control.close()
        with trio.move_on_after(END_LIMIT_S, shield=True):
            await self.process.wait()
        if self.process.poll() is None:
            await end_process(self.process)

    async def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = await self._control.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the zygote has ended")
            data += more
        return data


class ForkServer:
    """Starts media workers; its zygote is started when first needed, and again when it was lost.

    Args:
        media_types: what the workers load, ``module:attribute``.
    """

    def __init__(self, media_types: tuple[str, ...]) -> None:
        self._media_types = media_types
        self._zygote: _Zygote | None = None
        self._retired: list[_Zygote] = []
        self._ended = 0
        self._starting = trio.Lock()

    def note_ended(self) -> None:
        """Count a worker that a file ended.

        Forks of one zygote have the same addresses and the same canary: who ends many of them learns what they are.
        After some another zygote begins, with others.
        """
        self._ended += 1

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process id of the zygote while one runs."""
        return (self._zygote.process.pid,) if self._zygote is not None else ()

    async def start(self) -> tuple[Child, socket.socket]:
        """Start a worker; return its process and our end of the socket it serves.

        Raises:
            Unavailable: ``no_worker``, none can be started.
        """
        for is_last in (False, True):
            zygote = await self._warm()
            try:
                return await self._started_by(zygote)
            except (OSError, trio.ClosedResourceError, msgspec.DecodeError) as error:
                if is_last:
                    raise _no_worker("the process that starts them does not answer") from error
        raise AssertionError

    async def _started_by(self, zygote: "_Zygote") -> tuple[Child, socket.socket]:
        own, its = socket.socketpair()
        with contextlib.ExitStack() as stack:
            stack.callback(own.close)
            with its:
                pid = await zygote.forked(its.fileno())
            is_watched = False
            try:
                child = Child(pid, zygote)
                is_watched = True
            finally:
                if not is_watched:  # no descriptor is left: nobody could end it later
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    with trio.move_on_after(REAP_LIMIT_S, shield=True):
                        await zygote.reap(pid)
            stack.pop_all()
        return child, own

    async def close(self) -> None:
        """End the zygotes; the workers have been ended before."""
        zygotes = [*self._retired, *([self._zygote] if self._zygote is not None else [])]
        self._retired, self._zygote = [], None
        for zygote in zygotes:
            await zygote.end()

    async def _warm(self) -> _Zygote:
        """Return a zygote whose imports are warm.

        Raises:
            Unavailable: ``no_worker``, it does not start, or not in time.
        """
        async with self._starting:
            if self._zygote is not None and (self._zygote.is_broken or self._zygote.process.poll() is not None):
                lost, self._zygote = self._zygote, None
                await lost.end()
            if self._zygote is not None and self._ended >= ENDED_MAX:
                self._zygote.is_retired, self._ended = True, 0
                self._retired.append(self._zygote)
                self._zygote = None
            for idle in [one for one in self._retired if not one.children]:
                self._retired.remove(idle)
                await idle.end()
            if self._zygote is None:
                self._zygote = await self._started()
            return self._zygote

    async def _started(self) -> _Zygote:
        own, its = socket.socketpair()
        with its, contextlib.ExitStack() as stack:
            stack.enter_context(own)
            try:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-P", "-m", "lumiliod.media.zygote"],
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=environment(),
                    start_new_session=True,  # the terminal's Ctrl-C is for the daemon
                )
            except OSError as error:
                raise _no_worker("no process can be started") from error
            stack.pop_all()
        zygote, is_warm = _Zygote(process, own), False
        try:
            with trio.move_on_after(START_LIMIT_S):
                await zygote.warmed(self._media_types)
                is_warm = True
                return zygote
        except (OSError, trio.ClosedResourceError, msgspec.DecodeError) as error:
            raise _no_worker("the process that starts them ended") from error
        finally:
            if not is_warm:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await zygote.end()
        raise _no_worker("their imports take too long")


@asynccontextmanager
async def opened(media_types: tuple[str, ...]) -> AsyncIterator[ForkServer]:
    """Hand out a fork server; its zygote does not outlive the block."""
    server = ForkServer(media_types)
    try:
        yield server
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await server.close()


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _no_worker(reason: str) -> Unavailable:
    return Unavailable(f"media workers do not start: {reason}", code="no_worker", after_s=NO_WORKER_AFTER_S)
