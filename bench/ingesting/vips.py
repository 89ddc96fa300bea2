"""The peer: ``vipsthumbnail`` of libvips draws the same three sizes, and does nothing else."""

import os
import resource
import subprocess
import time
from pathlib import Path

from bench.ingesting.bound import QUALITY, SIZES
from bench.ingesting.rounds import Round
from bench.measuring.machine import cores, version_of


def version() -> str | None:
    """Return its version; None where it is not there (Debian: libvips-tools)."""
    return version_of("vipsthumbnail", "--vips-version")


def measure(folder: Path, scratch: Path) -> Round:
    """Draw every picture of ``folder``, one process a core with one thread each, each size from the next larger one.

    Raises:
        RuntimeError: it fails.
    """
    paths = sorted(folder.glob("*.JPG"))
    shares = [paths[share :: cores()] for share in range(cores())]
    before, began = _children_cpu_s(), time.perf_counter()
    for size in SIZES:
        into = scratch / str(size)
        into.mkdir(parents=True)
        command = ["vipsthumbnail", "--size", str(size), "--output", f"{into}/%s.jpg[Q={QUALITY},strip]"]
        environment = os.environ | {"VIPS_CONCURRENCY": "1"}
        processes = [subprocess.Popen([*command, *map(str, share)], env=environment) for share in shares if share]
        statuses = [process.wait() for process in processes]
        if any(statuses):
            raise RuntimeError("vipsthumbnail failed")
        shares = [[into / f"{path.stem}.jpg" for path in share] for share in shares]
    wall_s, cpu_s = time.perf_counter() - began, _children_cpu_s() - before
    drawn = len(list(scratch.rglob("*.jpg")))
    if drawn != len(SIZES) * len(paths):
        raise RuntimeError(f"vipsthumbnail made {drawn} pictures of {len(paths)} photographs")
    return Round(wall_s, cpu_s)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
