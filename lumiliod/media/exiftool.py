"""exiftool for batches of files: a few processes share them, one that takes too long is killed and replaced."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import trio

from lumiliod.domain.errors import LumilioError, Permanent, Unavailable
from lumiliod.media import exiftool_process, exiftool_shim
from lumiliod.media.exif_values import Tag, bounded, documents_of
from lumiliod.media.exiftool_process import ENVIRONMENT, Ended, Place, Process, place_of
from lumiliod.media.processes import CLOSE_LIMIT_S, has_stalled, stalled

START_LIMIT_S = 20.0
VERSION_BYTES_MAX = 4096
TOGETHER = 8
"""Files of a batch that one process reads in one go at most."""
ATTEMPTS = 2
IDLE_MORE = 2
"""So many times as many processes may be kept as work at once: each reads one repository alone."""
DISK_THREADS = 32
"""How many folders may be looked for on disks that hang before those on others have to wait."""
UNOPENED_AFTER_S = 30.0
"""When it makes sense to try again to read a file that exiftool cannot open."""


class ExifTool:
    """Up to ``processes`` kept-open exiftools, which share a batch; what is odd of it is read again by itself."""

    def __init__(self, command: str, processes: int, wall_limit_s: float) -> None:
        self._program = shutil.which(command)
        self._processes = processes
        self._most = IDLE_MORE * processes
        self._disk = trio.CapacityLimiter(DISK_THREADS)
        self._slots = trio.Semaphore(processes)
        self._wall_limit_s = wall_limit_s
        self._idle: list[Process] = []
        self._alive: set[Process] = set()

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

        async def read_one(number: int, path: str, place: Place) -> None:
            async with self._slots:
                try:
                    results[number] = await self._read_one(path, place)
                except Unavailable as error:
                    results[number] = error

        async def read_some(numbers: list[int], place: Place) -> None:
            found: dict[str, dict[str, Tag]] = {}
            if len(numbers) > 1:
                with suppress(Unavailable):
                    async with self._slots:
                        found = await self._read_together([files[number][0] for number in numbers], place)
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    path = files[number][0]
                    if path in found:
                        results[number] = found[path]
                    else:
                        nursery.start_soon(read_one, number, path, place)

        async def read_below(folder: str) -> None:
            numbers = [number for number, (_, above) in enumerate(files) if above == folder]
            try:
                place = await trio.to_thread.run_sync(place_of, folder, abandon_on_cancel=True, limiter=self._disk)
            except OSError as error:
                away = Unavailable(f"the folder cannot be reached: {error.strerror}", code="io_error")
                results.update(dict.fromkeys(numbers, away))
                return
            together = min(TOGETHER, -(-len(numbers) // self._processes))
            async with trio.open_nursery() as nursery:
                for start in range(0, len(numbers), together):
                    nursery.start_soon(read_some, numbers[start : start + together], place)

        async with trio.open_nursery() as nursery:
            for folder in {folder for _, folder in files}:
                nursery.start_soon(read_below, folder)
        return [results[number] for number in range(len(files))]

    async def close(self) -> None:
        """Kill and reap every process."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        for process in tuple(self._alive):
            await self._end(process)

    async def _read_one(self, path: str, place: Place) -> dict[str, Tag] | LumilioError:
        if _has_plain_name(path):
            return await self._read_named(path, place)
        # a command's line cannot carry such a name; the folder is short-lived, so that a killed daemon leaves none
        with TemporaryDirectory(prefix="lumilio-exiftool-") as folder:
            link = Path(folder, "file" + "".join(PurePath(path).suffix.split()))
            link.symlink_to(path)
            return await self._read_named(str(link), place)

    async def _read_together(self, paths: Sequence[str], place: Place) -> dict[str, dict[str, Tag]]:
        """Return the tags of files that one process reads in one go, within the limits of one; not of those it cannot.

        Raises:
            Unavailable: ``no_exiftool``.
        """
        process = await self._process(place, is_new=False)
        is_healthy, documents = False, list[dict[str, Tag]]()
        process.limit_cpu()
        try:
            with trio.move_on_after(self._wall_limit_s):
                documents = documents_of(await process.execute(*(path for path in paths if _is_echoed(path))))
                is_healthy = True
        except Ended:
            pass
        finally:
            if is_healthy:
                self._idle.append(process)
            else:
                with trio.move_on_after(CLOSE_LIMIT_S, shield=True):
                    await self._end(process)
        names = Counter(document.get("SourceFile") for document in documents)
        named = {name: one for one in documents if names[name := one.get("SourceFile")] == 1 and not _is_unopened(one)}
        return {path: bounded(named[path]) for path in paths if path in named}

    async def _read_named(self, path: str, place: Place) -> dict[str, Tag] | LumilioError:
        await trio.lowlevel.checkpoint()
        is_late = is_stalled = is_unopened = False
        for attempt in range(ATTEMPTS):
            process = await self._process(place, is_new=attempt > 0)
            is_healthy, tags = False, dict[str, Tag]()
            before_s = process.vitals.busy_s()
            process.limit_cpu()
            try:
                with trio.move_on_after(self._wall_limit_s) as scope:
                    [tags] = documents_of(output := await process.execute(path))[:1] or [{}]
                    # begun before a disk was mounted anew, it may not open what lies there now
                    is_unopened = not output.strip() or _is_unopened(tags)
                    is_healthy = not is_unopened
                is_late = scope.cancelled_caught
                if is_late:
                    is_stalled = is_stalled or has_stalled(process.vitals.busy_s() - before_s, self._wall_limit_s)
                if is_late or is_unopened:
                    continue
                return bounded(tags)
            except Ended:
                is_late = is_unopened = False
                if await process.is_used_up():
                    limit_s = exiftool_process.CPU_LIMIT_S
                    return Permanent(f"exiftool took more than {limit_s} s of processor time", code="timeout")
            finally:
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

    async def _process(self, place: Place, *, is_new: bool) -> Process:
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

    def _started(self, place: Place) -> Process:
        if self._program is None:
            raise Unavailable("exiftool is not there", code="no_exiftool", after_s=30.0)
        try:
            process = Process(self._program, place)
        except OSError as error:
            raise Unavailable("exiftool cannot be started", code="no_exiftool", after_s=30.0) from error
        self._alive.add(process)
        return process

    async def _end(self, process: Process) -> None:
        if process not in self._alive:
            return  # somebody else ends it
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
    """Start exiftool by this thread: see :class:`Process`."""
    return subprocess.Popen(
        exiftool_shim.command([], [program, "-ver"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )


def _is_unopened(tags: dict[str, Tag]) -> bool:
    return tags.get("ExifTool:Error") == "Error opening file"


def _is_echoed(path: str) -> bool:
    """Tell whether exiftool can be told a path among others and says it again as it is: of what is no text it makes
    question marks, which other names may have.
    """
    return _has_plain_name(path) and not any("\udc80" <= character <= "\udcff" for character in path)


def _has_plain_name(path: str) -> bool:
    """Tell whether a command's line can carry a path."""
    return "\n" not in path and "\r" not in path
