"""Processes of ours that read foreign bytes: how much they work, what they started, and how they are ended."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import trio

from lumiliod.domain.errors import Retryable

STALLED_SHARE = 0.25
"""A process that used or queued for less than this share of its time waited: for a disk, or stopped."""
STALLED_AFTER_S = 30.0
"""When it makes sense to try again what a disk held up."""
REAP_LIMIT_S = 5.0
"""How long a killed process may take to go; longer only in uninterruptible sleep."""
CLOSE_LIMIT_S = 20.0
"""Bound of everything that awaits while being closed or cancelled."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_VITALS_BYTES = 1024
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")


class Vitals:
    """How much a process works and holds, by proc_pid_stat(5) and its likes, which stay open: it is asked often.

    Of a process that is gone everything is 0. Whoever made it closes it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._files: dict[str, int] = {}

    def cpu_s(self) -> float:
        """Return how long it used the processor so far, all its threads together."""
        fields = self._fields("stat")
        # utime and stime, fields 14 and 15
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0

    def busy_s(self) -> float:
        """Return how long it used the processor, all its threads together, and its first one queued for it."""
        queued = self._fields("schedstat")  # not there where a kernel keeps no such record
        return self.cpu_s() + (int(queued[1]) / 1e9 if queued else 0.0)

    def resident_bytes(self) -> int:
        """Return the memory it holds."""
        fields = self._fields("statm")
        return int(fields[1]) * _PAGE_BYTES if fields else 0

    def close(self) -> None:
        """Close its files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()

    def _fields(self, name: str) -> list[bytes]:
        try:
            if name not in self._files:
                self._files[name] = os.open(f"/proc/{self._pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._files[name], _VITALS_BYTES, 0).rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return []


def has_stalled(busy_s: float, limit_s: float) -> bool:
    """Tell whether a process that was busy for so long when it ran out of its ``limit_s`` spent them waiting."""
    return busy_s < STALLED_SHARE * limit_s


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
    started = stopped_tree(process.pid) if process.poll() is None else []
    # the group outlives its leader while anything is in it: a grandchild holds no file or core for long
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    for pid in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with trio.move_on_after(REAP_LIMIT_S, shield=True):
        await process.wait()


def stopped_tree(pid: int) -> list[int]:
    """Stop a process and all below it, whatever session they are in; return those below.

    One that is stopped starts nothing more, so what is found is everything.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children + [below for child in children for below in stopped_tree(child)]


def environment() -> dict[str, str]:
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
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # 50 MB of a RAW are there in 4 ms instead of 22
            "OPENCV_LOG_LEVEL": "SILENT",
        }
    )
