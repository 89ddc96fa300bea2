"""exiftool, kept open: perl starts once, each file costs one command on its standard input.

exiftool reads untrusted bytes too: it gives up what it does not need (:mod:`exiftool_shim`), has limits of its own and
is killed when it takes too long.
"""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import trio

from lumiliod.domain.errors import LumilioError, Permanent, Unavailable
from lumiliod.media import exiftool_shim
from lumiliod.media.processes import CLOSE_LIMIT_S, REAP_LIMIT_S, Vitals, has_stalled, stalled

Tag = Any
"""A value as exiftool's JSON has it: text, number, list or mapping."""

COMMAND = (
    "-json", "-struct", "-n", "-G1", "-fast", "-api", "QuickTimeUTC=1", "-api", "largefilesupport=1",
    "-charset", "filename=utf8",
)  # fmt: skip  # -fast2 would lose HEIC and video values
READY = b"{ready}\n"
CPU_LIMIT_S = 5
"""Processor time for one file, of which real ones take 0.05 s. It would take as long again: one try is enough."""
START_LIMIT_S = 20.0
VERSION_BYTES_MAX = 4096
OUTPUT_LIMIT_BYTES = 16 << 20
MAX_STRING_CHARACTERS = 4096
MAX_TAGS_BYTES = 256 << 10
MAX_DEPTH = 16
"""Of structures within each other; what lies deeper is left out. XMP's own are some four deep."""
ATTEMPTS = 2
IDLE_MORE = 2
"""So many times as many processes may be kept as work at once: each reads one repository alone."""
DISK_THREADS = 32
"""How many folders may be looked for on disks that hang before those on others have to wait."""
UNOPENED_AFTER_S = 30.0
"""When it makes sense to try again to read a file that exiftool cannot open."""

# group:name of what would be noise in a library: paths, thumbnails, exiftool's own words
_DROPPED_GROUPS = ("System:", "ExifTool:")
_DROPPED_NAMES = ("ThumbnailImage", "PreviewImage", "JpgFromRaw", "OtherImage", "SourceFile", "DataDump")

_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC"}


class _Ended(Exception):
    """The process closed its pipes in the middle of a command."""


class _Place(NamedTuple):
    """A folder as it is now: another one may be mounted at its path later, which leave for this one says nothing of."""

    folder: str
    device: int
    inode: int


def _found(folder: str) -> _Place:
    found = Path(folder).stat()
    return _Place(folder, found.st_dev, found.st_ino)


class _Process:
    """One kept-open exiftool.

    Started by this thread and not by trio's pool: the kernel's death signal follows the *thread*
    that started a process, and pool threads come and go.
    """

    def __init__(self, program: str, place: _Place) -> None:
        self.place = place
        # vfork and exec: a few milliseconds
        self.process = subprocess.Popen(
            exiftool_shim.command([place.folder], [program, "-stay_open", "True", "-@", "-"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin = trio.lowlevel.FdStream(os.dup(self.process.stdin.fileno()))
        self._stdout = trio.lowlevel.FdStream(os.dup(self.process.stdout.fileno()))
        self._exited = os.pidfd_open(self.process.pid)
        self.process.stdin.close()
        self.process.stdout.close()

    async def is_used_up(self) -> bool:
        """Tell whether it ended because its processor time did; its pipes close a moment before it is gone."""
        with trio.move_on_after(REAP_LIMIT_S):
            await trio.lowlevel.wait_readable(self._exited)
        return self.process.poll() == -signal.SIGXCPU

    def limit_cpu(self, used_s: float) -> None:
        """Allow the time of one file beyond what was used so far; SIGXCPU ends it after that."""
        with suppress(OSError):  # it has ended: what reads from it notices
            limits = (math.ceil(used_s) + CPU_LIMIT_S, resource.RLIM_INFINITY)
            resource.prlimit(self.process.pid, resource.RLIMIT_CPU, limits)

    async def execute(self, path: str) -> bytes:
        """Return what exiftool writes about ``path`` (absolute, without line breaks).

        Raises:
            _Ended: the process died, or writes without end.
        """
        lines = [*(os.fsencode(word) for word in COMMAND), os.fsencode(path), b"-execute", b""]
        output = bytearray()
        try:
            await self._stdin.send_all(b"\n".join(lines))
            while not output.endswith(READY):
                chunk = await self._stdout.receive_some()
                output += chunk
                if not chunk or len(output) > OUTPUT_LIMIT_BYTES:
                    raise _Ended
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _Ended from error
        return bytes(output[: -len(READY)])

    async def end(self) -> None:
        """Kill and reap, even in a cancelled scope."""
        self.process.kill()
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await trio.lowlevel.wait_readable(self._exited)
        os.close(self._exited)
        self.process.poll()
        with trio.move_on_after(REAP_LIMIT_S, shield=True):
            await trio.lowlevel.checkpoint()
            await self._stdin.aclose()
            await self._stdout.aclose()


class ExifTool:
    """Up to ``processes`` kept-open exiftools; each takes the next file of a batch, a command per file."""

    def __init__(self, command: str, processes: int, wall_limit_s: float) -> None:
        self._program = shutil.which(command)
        self._most = IDLE_MORE * processes
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._slots = trio.Semaphore(processes)
        self._wall_limit_s = wall_limit_s
        self._idle: list[_Process] = []
        self._alive: set[_Process] = set()

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the ids of the processes alive now."""
        return tuple(process.process.pid for process in self._alive)

    async def read(self, files: Sequence[tuple[str, str]]) -> list[dict[str, Tag] | LumilioError]:
        """Return each file's tags, ``group:name`` to value, bounded in size; in the order asked.

        Each is an absolute path and a folder above it: exiftool reads nothing else.

        A file that uses up its processor time or hangs it twice is a Permanent (``timeout``), one that ends it twice
        too (``poison``), one that something else holds up is Retryable (``stalled``), one that it cannot open
        Unavailable (``io_error``); the others of the batch are not disturbed.
        """
        results: dict[int, dict[str, Tag] | LumilioError] = {}

        async def read_one(number: int, path: str, place: _Place) -> None:
            async with self._slots:
                try:
                    results[number] = await self._read_one(path, place)
                except Unavailable as error:
                    results[number] = error

        async def read_below(folder: str) -> None:
            numbers = [number for number, (_, above) in enumerate(files) if above == folder]
            try:
                place = await trio.to_thread.run_sync(_found, folder, abandon_on_cancel=True, limiter=self._disk)
            except OSError as error:
                away = Unavailable(f"the folder cannot be reached: {error.strerror}", code="io_error")
                results.update(dict.fromkeys(numbers, away))
                return
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(read_one, number, files[number][0], place)

        async with trio.open_nursery() as nursery:
            for folder in {folder for _, folder in files}:
                nursery.start_soon(read_below, folder)
        return [results[number] for number in range(len(files))]

    async def close(self) -> None:
        """Kill and reap every process."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        for process in tuple(self._alive):
            await self._end(process)

    async def _read_one(self, path: str, place: _Place) -> dict[str, Tag] | LumilioError:
        if "\n" not in path and "\r" not in path:
            return await self._read_named(path, place)
        # a command's line cannot carry such a name; the folder is short-lived, so that a killed daemon leaves none
        with TemporaryDirectory(prefix="lumilio-exiftool-") as folder:
            link = Path(folder, "file" + "".join(PurePath(path).suffix.split()))
            link.symlink_to(path)
            return await self._read_named(str(link), place)

    async def _read_named(self, path: str, place: _Place) -> dict[str, Tag] | LumilioError:
        await trio.lowlevel.checkpoint()
        is_late = is_stalled = is_unopened = False
        for attempt in range(ATTEMPTS):
            process = await self._process(place, is_new=attempt > 0)
            is_healthy, tags = False, dict[str, Tag]()
            vitals = Vitals(process.process.pid)
            before_s = vitals.busy_s()
            process.limit_cpu(vitals.cpu_s())
            try:
                with trio.move_on_after(self._wall_limit_s) as scope:
                    tags = _parsed(output := await process.execute(path))
                    # begun before a disk was mounted anew, it may not open what lies there now
                    is_unopened = not output.strip() or tags.get("ExifTool:Error") == "Error opening file"
                    is_healthy = not is_unopened
                is_late = scope.cancelled_caught
                if is_late:
                    is_stalled = is_stalled or has_stalled(vitals.busy_s() - before_s, self._wall_limit_s)
                if is_late or is_unopened:
                    continue
                return bounded(tags)
            except _Ended:
                is_late = is_unopened = False
                if await process.is_used_up():
                    return Permanent(f"exiftool took more than {CPU_LIMIT_S} s of processor time", code="timeout")
            finally:
                vitals.close()
                if is_healthy:
                    self._idle.append(process)
                else:
                    with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                        await self._end(process)
        if is_stalled:
            return stalled(self._wall_limit_s)
        if is_late:
            return Permanent(f"exiftool did not end within {self._wall_limit_s:g} s", code="timeout")
        if is_unopened:
            return Unavailable("exiftool cannot open the file", code="io_error", after_s=UNOPENED_AFTER_S)
        return Permanent("the file ended exiftool twice", code="poison")

    async def _process(self, place: _Place, *, is_new: bool) -> _Process:
        """Return a process for files below ``place``, one that waits for work where it need not be new."""
        waiting = [process for process in self._idle if process.place == place]
        if waiting and not is_new:
            self._idle.remove(waiting[-1])
            return waiting[-1]
        for process in tuple(self._idle):
            if process.place.folder == place.folder and process.place != place:  # what was mounted there before
                await self._end(process)
        while self._idle and len(self._alive) >= self._most:
            await self._end(self._idle[0])
        return self._started(place)

    def _started(self, place: _Place) -> _Process:
        if self._program is None:
            raise Unavailable("exiftool is not there", code="no_exiftool", after_s=30.0)
        try:
            process = _Process(self._program, place)
        except OSError as error:
            raise Unavailable("exiftool cannot be started", code="no_exiftool", after_s=30.0) from error
        self._alive.add(process)
        return process

    async def _end(self, process: _Process) -> None:
        self._alive.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        await process.end()


@asynccontextmanager
async def opened(command: str, processes: int, wall_limit_s: float) -> AsyncIterator[ExifTool]:
    """Hand out exiftool; none of its processes outlives the block."""
    exiftool = ExifTool(command, processes, wall_limit_s)
    try:
        yield exiftool
    finally:
        with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
            await exiftool.close()


async def version(command: str) -> str | None:
    """Return exiftool's version, or None where ``command`` does not run as it is run here, in its confinement."""
    await trio.lowlevel.checkpoint()
    program = shutil.which(command)
    if program is None:
        return None
    try:
        process = _asked_for_version(program)
    except OSError:
        return None
    said = b""
    assert process.stdout is not None
    try:
        with trio.move_on_after(START_LIMIT_S):
            async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as stream:
                while len(said) < VERSION_BYTES_MAX and (more := await stream.receive_some()):
                    said += more
    finally:
        process.stdout.close()
        process.kill()
        process.wait()
    return said.decode("ascii", "replace").strip() or None


def _asked_for_version(program: str) -> "subprocess.Popen[bytes]":
    """Start exiftool by this thread: see :class:`_Process`."""
    return subprocess.Popen(
        exiftool_shim.command([], [program, "-ver"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )


def bounded(tags: dict[str, Tag]) -> dict[str, Tag]:
    """Return ``tags`` without binary values and exiftool's own words, within the size limits.

    Where they are too many the shortest are kept. NUL characters go: no database text holds them.
    """
    kept: dict[str, Tag] = {}
    for key, value in tags.items():
        name = key.rpartition(":")[2]
        is_binary = isinstance(value, str) and value.startswith("(Binary data ")
        if not is_binary and name not in _DROPPED_NAMES and not key.startswith(_DROPPED_GROUPS):
            kept[_cut(key)] = _trimmed(value)
    sizes = {key: len(key) + len(msgspec.json.encode(value)) for key, value in kept.items()}
    total = sum(sizes.values())
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= MAX_TAGS_BYTES:
            break
        total -= sizes[key]
        del kept[key]
    return kept


def _parsed(output: bytes) -> dict[str, Tag]:
    text = output.decode("utf-8", "replace")
    try:
        documents = msgspec.json.decode(text, type=list[dict[str, Tag]])
    except msgspec.MsgspecError:
        try:
            documents = json.loads(text)  # knows numbers beyond a float and half surrogates
        except (ValueError, RecursionError):
            return {}
    except RecursionError:
        return {}
    first = documents[0] if isinstance(documents, list) and documents else None
    return first if isinstance(first, dict) else {}


def _trimmed(value: Tag, depth: int = 0) -> Tag:
    match value:
        case list() | dict() if depth == MAX_DEPTH:
            return None
        case str():
            return _cut(value)
        case float() if not math.isfinite(value):
            return None
        case list():
            return [_trimmed(item, depth + 1) for item in value]
        case dict():
            return {_cut(key): _trimmed(item, depth + 1) for key, item in value.items()}
        case _:
            return value


def _cut(text: str) -> str:
    return text.replace("\0", "")[:MAX_STRING_CHARACTERS].encode("utf-8", "replace").decode()
