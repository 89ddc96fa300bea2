"""Hashing new files as ingest does, beside ``b3sum`` (Debian: b3sum) of the same files, both warm in the cache."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.measuring.machine import version_of
from lumiliod.config import Config
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
    with ThreadPoolExecutor(_threads()) as threads:

        def ours() -> list[str]:
            return [digest for digest, _ in threads.map(_digest, paths)]

        # the first round warms both up
        for number in range(rounds + 1):
            took_s, digests = _timed(ours)
            ours_s += [took_s] * (number > 0)
            if version() is not None:
                took_s, their_digests = _timed(lambda: _b3sum(paths))
                theirs_s += [took_s] * (number > 0)
                if digests != their_digests:
                    raise RuntimeError("b3sum has other digests")
    gigabytes = files * FILE_BYTES / 1e9
    theirs = gigabytes / statistics.median(theirs_s) if theirs_s else None
    return Hashed(gigabytes / statistics.median(ours_s), theirs)


def _threads() -> int:
    """Return how many files ingest reads at once."""
    return Config().jobs.concurrency.ingest


def _digest(path: str) -> tuple[str, object]:
    return originals.digest_file(path, root=os.path.dirname(path), settled=True)


def _b3sum(paths: Sequence[str]) -> list[str]:
    done = subprocess.run(["b3sum", "--no-names", *paths], capture_output=True, text=True, check=True)
    return done.stdout.split()


def _timed(run: Callable[[], list[str]]) -> tuple[float, list[str]]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result
