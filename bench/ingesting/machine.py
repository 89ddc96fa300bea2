"""The machine: what it is called, and what a tree of processes takes of it."""

import contextlib
import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, ahead = [], [root]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def tree_cpu_s(root: int) -> float:
    """Return the CPU time of a tree: of every living process and of the children each has reaped (proc(5))."""
    ticks = 0
    for pid in _tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree_memory_mb(root: int) -> float:
    """Return the proportional set size of a tree: shared pages count once."""
    total_kb = 0
    for pid in _tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_kb += int(line.split()[1])
    return total_kb / 1024


@contextlib.contextmanager
def peak_memory(root: int) -> Iterator[list[float]]:
    """Sample a tree's memory twice a second into the list it gives."""
    samples, done = [_tree_memory_mb(root)], threading.Event()

    def sample() -> None:
        while not done.wait(0.5):
            samples.append(_tree_memory_mb(root))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def exiftool_version() -> str | None:
    """Return exiftool's version; None where it is not there."""
    try:
        return subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
