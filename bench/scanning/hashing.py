"""Hashing new files as ingest does, beside ``b3sum`` (Debian: b3sum) of the same files, both warm in the cache.

As in ingest, files are read in threads of trio, as many at a time as a job takes, in as many jobs as run at once.
"""

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from bench.measuring.machine import version_of
from lumiliod.config import Config
from lumiliod.pipeline.ingest import BATCH
from lumiliod.storage import originals

FILES, FILE_BYTES = 128, 4 << 20
"""Photographs of an ordinary size."""
SHORT_FILES = 8


@dataclass(frozen=True)
class Hashed:
    """GB a second, medians of the rounds; None where there is no b3sum."""

    ours: float
    b3sum: float | None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as b3sum we are."""
        return self.ours / self.b3sum if self.b3sum else None


def version() -> str | None:
    """Return b3sum's version; None where it is not there."""
    return version_of("b3sum", "--version")


def measure(folder: Path, files: int, rounds: int) -> Hashed:
    """Hash the same files by turns.

    Raises:
        RuntimeError: the two do not agree about them.
    """
    folder.mkdir()
    paths = [str(folder / f"{number}.jpg") for number in range(files)]
    for path in paths:
        Path(path).write_bytes(os.urandom(FILE_BYTES))
    ours_s, theirs_s = list[float](), list[float]()
    # the first round warms both up
    for number in range(rounds + 1):
        took_s, digests = trio.run(_ours, paths)
        ours_s += [took_s] * (number > 0)
        if version() is not None:
            took_s, their_digests = _b3sum(paths)
            theirs_s += [took_s] * (number > 0)
            if digests != their_digests:
                raise RuntimeError("b3sum has other digests")
    gigabytes = files * FILE_BYTES / 1e9
    theirs = gigabytes / statistics.median(theirs_s) if theirs_s else None
    return Hashed(gigabytes / statistics.median(ours_s), theirs)


async def _ours(paths: Sequence[str]) -> tuple[float, list[str]]:
    """Return how many seconds the files took, and their digests in the same order."""
    digests = dict[str, str]()
    groups = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    limiter = trio.CapacityLimiter(Config().jobs.concurrency.ingest)

    async def read(group: Sequence[str]) -> None:
        digests.update(await trio.to_thread.run_sync(_digests, group, limiter=limiter))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for group in groups:
            nursery.start_soon(read, group)
    took_s = time.perf_counter() - began
    return took_s, [digests[path] for path in paths]


def _digests(paths: Sequence[str]) -> dict[str, str]:
    root = os.path.dirname(paths[0])
    return {path: originals.digest_file(path, root=root, settled=True)[0] for path in paths}


def _b3sum(paths: Sequence[str]) -> tuple[float, list[str]]:
    began = time.perf_counter()
    done = subprocess.run(["b3sum", "--no-names", *paths], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout.split()
