"""One exiftool, kept open: perl starts once, and each command is some lines on its standard input.

It reads untrusted bytes: it gives up what it does not need (:mod:`exiftool_shim`) and has limits of its own.
"""

import math
import os
import resource
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import trio

from lumiliod.media import exiftool_shim
from lumiliod.media.processes import REAP_LIMIT_S, Vitals

COMMAND = (
    "-json", "-struct", "-n", "-G1", "-fast", "-api", "QuickTimeUTC=1", "-api", "largefilesupport=1",
    "-charset", "filename=utf8",
)  # fmt: skip  # -fast2 would lose HEIC and video values
READY = b"{ready}\n"
CPU_LIMIT_S = 5
"""Processor time for one file, of which real ones take 0.05 s. It would take as long again: one try is enough."""
OUTPUT_LIMIT_BYTES = 16 << 20

ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


class Ended(Exception):
    """The process closed its pipes in the middle of a command."""


class Place(NamedTuple):
    """A folder as it is now: another one may be mounted at its path later, which leave for this one says nothing of."""

    folder: str
    device: int
    inode: int


def place_of(folder: str) -> Place:
    """Return a folder as it is now. Raises OSError where it cannot be reached."""
    found = Path(folder).stat()
    return Place(folder, found.st_dev, found.st_ino)


class Process:
    """One kept-open exiftool.

    Started by this thread and not by trio's pool: the kernel's death signal follows the *thread*
    that started a process, and pool threads come and go.
    """

    def __init__(self, program: str, place: Place) -> None:
        self.place = place
        # vfork and exec: a few milliseconds
        self.process = subprocess.Popen(
            exiftool_shim.command([place.folder], [program, "-stay_open", "True", "-@", "-"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = trio.lowlevel.FdStream(os.dup(self.process.stdin.fileno()))
        self._stdout = trio.lowlevel.FdStream(os.dup(self.process.stdout.fileno()))
        self._exited = os.pidfd_open(self.process.pid)
        self.process.stdin.close()
        self.process.stdout.close()
        self.vitals = Vitals(self.process.pid)

    async def is_used_up(self) -> bool:
        """Tell whether it ended because its processor time did; its pipes close a moment before it is gone."""
        with trio.move_on_after(REAP_LIMIT_S):
            await trio.lowlevel.wait_readable(self._exited)
        return self.process.poll() == -signal.SIGXCPU

    def limit_cpu(self) -> None:
        """Allow the time of one file beyond what was used so far; SIGXCPU ends it after that."""
        with suppress(OSError):  # it has ended: what reads from it notices
            limits = (math.ceil(self.vitals.cpu_s()) + CPU_LIMIT_S, resource.RLIM_INFINITY)
            resource.prlimit(self.process.pid, resource.RLIMIT_CPU, limits)

    async def execute(self, *paths: str) -> bytes:
        """Return what exiftool writes about ``paths`` (absolute, without line breaks).

        Raises:
            Ended: the process died, or writes without end.
        """
        lines = [*map(os.fsencode, (*COMMAND, *paths)), b"-execute", b""]
        output = bytearray()
        try:
            await self._stdin.send_all(b"\n".join(lines))
            while not output.endswith(READY):
                chunk = await self._stdout.receive_some()
                output += chunk
                if not chunk or len(output) > OUTPUT_LIMIT_BYTES:
                    raise Ended
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Ended from error
        return bytes(output[: -len(READY)])

    async def end(self) -> None:
        """Kill and reap, even in a cancelled scope."""
        self.process.kill()
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await trio.lowlevel.wait_readable(self._exited)
        os.close(self._exited)
        self.vitals.close()
        self.process.poll()
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await trio.lowlevel.checkpoint()
            await self._stdin.aclose()
            await self._stdout.aclose()
