"""Hashing new files as ingest does, beside ``b3sum`` (Debian: b3sum) of the same files, both warm in the cache.

As in ingest, files are read in threads of trio, as many at a time as a job takes, in as many jobs as run at once, and
hashed by processes once that is much.
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
from lumiliod.domain.errors import LumilioError
from lumiliod.pipeline.ingest import BATCH
from lumiliod.storage import hashers
from lumiliod.storage.digesting import digest_files

FILES, FILE_BYTES = 128, 4 << 20
"""Photographs of an ordinary size."""
SHORT_FILES = 8
WARMING_ROUNDS = 2
"""What runs is in the cache then, and processes that hash are running."""


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
    return trio.run(_measured, paths, rounds)


async def _measured(paths: Sequence[str], rounds: int) -> Hashed:
    ours_s, theirs_s = list[float](), list[float]()
    async with hashers.opened() as hashing:
        for number in range(WARMING_ROUNDS + rounds):
            took_s, digests = await _ours(hashing, paths)
            ours_s += [took_s] * (number >= WARMING_ROUNDS)
            if version() is not None:
                took_s, their_digests = _b3sum(paths)
                theirs_s += [took_s] * (number >= WARMING_ROUNDS)
                if digests != their_digests:
                    raise RuntimeError("b3sum has other digests")
    gigabytes = len(paths) * FILE_BYTES / 1e9
    theirs = gigabytes / statistics.median(theirs_s) if theirs_s else None
    return Hashed(gigabytes / statistics.median(ours_s), theirs)


async def _ours(hashing: hashers.Hashers, paths: Sequence[str]) -> tuple[float, list[str]]:
    """Return how many seconds the files took, and their digests in the same order."""
    digests = dict[str, str]()
    groups = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    limiter = trio.CapacityLimiter(Config().jobs.concurrency.ingest)

    async def read(group: Sequence[str]) -> None:
        digests.update(await trio.to_thread.run_sync(_digests, hashing, group, limiter=limiter))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for group in groups:
            nursery.start_soon(read, group)
    took_s = time.perf_counter() - began
    return took_s, [digests[path] for path in paths]


def _digests(hashing: hashers.Hashers, paths: Sequence[str]) -> dict[str, str]:
    digests = dict[str, str]()
    with hashing.lent([FILE_BYTES] * len(paths)) as hasher:
        read = digest_files(paths, root=os.path.dirname(paths[0]), hasher=hasher)
        for path, found in zip(paths, read, strict=True):
            if isinstance(found, LumilioError):
                raise found
            digests[path] = found[0]
    return digests


def _b3sum(paths: Sequence[str]) -> tuple[float, list[str]]:
    began = time.perf_counter()
    done = subprocess.run(["b3sum", "--no-names", *paths], capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout.split()
