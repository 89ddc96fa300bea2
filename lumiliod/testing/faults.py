"""A backend that fails on purpose; :mod:`~lumiliod.testing.fault_checks` says what has to hold all the same."""

import io
import os
import random
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from lumiliod.domain.assets import FileStat
from lumiliod.domain.errors import NotFound, Unavailable
from lumiliod.domain.ids import RepoPath
from lumiliod.storage.backend import Backend, Entry

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Fault(StrEnum):
    """What can go wrong with one call."""

    NO_SPACE = "no_space"
    """Nothing is stored, and the store says so."""
    IO_ERROR = "io_error"
    TIMEOUT = "timeout"
    """No answer, and nothing happened."""
    LOST_ANSWER = "lost_answer"
    """No answer, though it happened."""
    BUSY = "busy"
    """The store asks for patience."""
    TORN = "torn"
    """Half of the bytes lie under the name when the process dies."""
    NOT_STORED = "not_stored"
    """The store says it has what it has not."""
    OTHER_STORED = "other_stored"
    """The store says it has the bytes and has others."""
    OTHER_READ = "other_read"
    SHORT_READ = "short_read"
    """The file ends half-way, without a word."""
    BROKEN_READ = "broken_read"
    """Reading fails half-way."""
    GONE = "gone"
    """The store forgets for a moment that it has the file."""
    PARTIAL_LIST = "partial_list"
    """A page is shorter than it could be."""


EVERYWHERE = frozenset({Fault.IO_ERROR, Fault.TIMEOUT, Fault.LOST_ANSWER, Fault.BUSY})
"""What can befall every verb."""

POSSIBLE: dict[str, frozenset[Fault]] = {
    "put_new": EVERYWHERE | {Fault.NO_SPACE, Fault.TORN, Fault.NOT_STORED, Fault.OTHER_STORED},
    "open": EVERYWHERE | {Fault.OTHER_READ, Fault.SHORT_READ, Fault.BROKEN_READ, Fault.GONE},
    "stat": EVERYWHERE | {Fault.GONE},
    "list": EVERYWHERE | {Fault.PARTIAL_LIST},
    "remove": EVERYWHERE,
}


class Died(BaseException):
    """Stands for the end of the process; only what plays the next process may catch it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which faults strike: of those possible for a call one by chance, ``most`` in all; the same for the same seed."""

    faults: Sequence[Fault]
    seed: int = 0
    chance: float = 0.5
    most: int = 3


@dataclass(slots=True)
class Faulty:
    """A backend around another that is right; ``struck`` tells what went wrong, in order."""

    backend: Backend
    plan: Plan
    struck: list[tuple[str, Fault]] = field(default_factory=list)
    _random: random.Random = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._random = random.Random(self.plan.seed)  # noqa: S311  to be repeatable

    @property
    def atomic_no_replace(self) -> bool:
        """As the backend within."""
        return self.backend.atomic_no_replace

    @property
    def local(self) -> bool:
        """Return False: what has a path is read past the faults."""
        return False

    @property
    def flaky(self) -> bool:
        """Return True."""
        return True

    def open(self, path: RepoPath) -> BinaryIO:
        """Open a stored file, or one that is not quite it."""
        fault = self._strike("open")
        if fault is Fault.GONE:
            raise NotFound("no such file", code="file_missing")
        file = self.backend.open(path)
        if fault in EVERYWHERE:
            file.close()
            with _around(fault):
                pass
        if fault not in {Fault.OTHER_READ, Fault.SHORT_READ, Fault.BROKEN_READ}:
            return file
        with file:
            content = file.read()
        half = content[: len(content) // 2]
        if fault is Fault.OTHER_READ:
            return io.BytesIO(flipped(content))
        return io.BytesIO(half) if fault is Fault.SHORT_READ else io.BufferedReader(_Breaking(half), 1)

    def put_new(self, source: str, target: RepoPath) -> bool:
        """Store a file, half of it, another, or none."""
        fault = self._strike("put_new")
        if fault is Fault.NO_SPACE:
            raise Unavailable("no room", code="no_space", after_s=0)
        if fault is Fault.NOT_STORED:
            return True
        if fault in {Fault.TORN, Fault.OTHER_STORED}:
            content = Path(source).read_bytes()
            wrong = flipped(content) if fault is Fault.OTHER_STORED else content[: len(content) // 2]
            with tempfile.TemporaryDirectory() as folder:
                other = os.path.join(folder, "other")
                Path(other).write_bytes(wrong)
                self.backend.put_new(other, target)
            if fault is Fault.TORN:
                raise Died
            return True
        with _around(fault):
            return self.backend.put_new(source, target)

    def stat(self, path: RepoPath) -> FileStat:
        """Look at a stored file."""
        fault = self._strike("stat")
        if fault is Fault.GONE:
            raise NotFound("no such file", code="file_missing")
        with _around(fault):
            return self.backend.stat(path)

    def list(self, after: RepoPath | None, limit: int) -> Sequence[Entry]:
        """Return a page, or its beginning."""
        fault = self._strike("list")
        with _around(fault):
            page = self.backend.list(after, limit)
        return page[: (len(page) + 1) // 2] if fault is Fault.PARTIAL_LIST else page

    def remove(self, path: RepoPath) -> None:
        """Remove a stored file."""
        with _around(self._strike("remove")):
            self.backend.remove(path)

    def _strike(self, verb: str) -> Fault | None:
        with self._lock:
            possible = [fault for fault in self.plan.faults if fault in POSSIBLE[verb]]
            if not possible or len(self.struck) >= self.plan.most or self._random.random() >= self.plan.chance:
                return None
            fault = self._random.choice(possible)
            self.struck.append((verb, fault))
            return fault


def flipped(content: bytes) -> bytes:
    """Return other bytes of the same number: one bit in the middle is turned over."""
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 1]) + content[middle + 1 :]


@contextmanager
def _around(fault: Fault | None) -> Iterator[None]:
    match fault:
        case Fault.IO_ERROR:
            raise Unavailable("the disk failed", code="io_error", after_s=0)
        case Fault.TIMEOUT:
            raise Unavailable("no answer", code="store_unavailable", after_s=0)
        case Fault.BUSY:
            raise Unavailable("slow down", code="store_busy", after_s=0)
    yield
    if fault is Fault.LOST_ANSWER:
        raise Unavailable("no answer", code="store_unavailable", after_s=0)


class _Breaking(io.RawIOBase):
    """Gives what it has, then fails."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._left = memoryview(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        if view and not self._left:
            raise Unavailable("the connection broke", code="store_unavailable", after_s=0)
        part = self._left[: len(view)]
        view[: len(part)] = part
        self._left = self._left[len(part) :]
        return len(part)
