"""Faults of a disk, in the process that they befall: calls of the system that fail, do less, or take long; deaths.

Installed in a fork that will be a daemon, they stand around the functions of :mod:`os` through which it does
everything below the root of the repository. Anywhere else, in the database above all, nothing ever goes wrong.
"""

import errno
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bench.soaking.orders import FaultPlan
from lumiliod.storage import durable

SLOW_S = (0.01, 0.15)


class Fault(StrEnum):
    """What can happen to one call."""

    IO_ERROR = "io_error"
    NO_SPACE = "no_space"
    SHORT = "short"
    """Fewer bytes than asked are read or written, which every system may do."""
    LOST_ANSWER = "lost_answer"
    """It is done, and an error is reported: a network's file system, asked twice."""
    SLOW = "slow"
    DIED = "died"
    """The process is killed right before, in the middle of, or right after it."""


Call = Callable[..., Any]
Where = Callable[[tuple[Any, ...], dict[str, Any]], str | None]
"""Tells from its arguments what a call is about."""

_ERRNOS = {Fault.IO_ERROR: errno.EIO, Fault.NO_SPACE: errno.ENOSPC, Fault.LOST_ANSWER: errno.EIO}


def _path_of(fd: object) -> str | None:
    try:
        return _readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def _named(path: object, folder: object) -> str | None:
    if isinstance(path, int):
        return _path_of(path)
    if isinstance(path, bytes | str | os.PathLike):
        name = os.fsdecode(path)
        if os.path.isabs(name):
            return name
        above = None if folder is None else _path_of(folder)
        return None if above is None else f"{above}/{name}"
    return None


def _by_name(folder: str) -> Where:
    return lambda given, named: _named(given[0] if given else named.get("path"), named.get(folder))


def _by_fd(given: tuple[Any, ...], _named: dict[str, Any]) -> str | None:
    return _path_of(given[0])


def _by_rename(given: tuple[Any, ...], _more: dict[str, Any]) -> str | None:
    source, _, source_fd, _ = given
    return _named(source, source_fd)


_READING = (Fault.IO_ERROR, Fault.SHORT, Fault.SLOW)
_LOOKING = (Fault.IO_ERROR, Fault.SLOW)
_WRITING = (Fault.IO_ERROR, Fault.NO_SPACE, Fault.SHORT, Fault.SLOW)
_FLUSHING = (Fault.IO_ERROR, Fault.NO_SPACE, Fault.SLOW)
_NAMING = (Fault.IO_ERROR, Fault.NO_SPACE, Fault.LOST_ANSWER, Fault.SLOW)
_FORGETTING = (Fault.IO_ERROR, Fault.LOST_ANSWER, Fault.SLOW)

CALLS: dict[str, tuple[Where, tuple[Fault, ...]]] = {
    "read": (_by_fd, _READING),
    "pread": (_by_fd, _READING),
    "readv": (_by_fd, _READING),
    "write": (_by_fd, _WRITING),
    "fsync": (_by_fd, _FLUSHING),
    "fdatasync": (_by_fd, _FLUSHING),
    "ftruncate": (_by_fd, _FLUSHING),
    "open": (_by_name("dir_fd"), _FLUSHING),
    "mkdir": (_by_name("dir_fd"), _NAMING),
    "link": (_by_name("src_dir_fd"), _NAMING),
    "rename": (_by_name("src_dir_fd"), _NAMING),
    "unlink": (_by_name("dir_fd"), _FORGETTING),
    "rmdir": (_by_name("dir_fd"), _FORGETTING),
    "stat": (_by_name("dir_fd"), _LOOKING),
    "scandir": (_by_name("dir_fd"), _LOOKING),
    "listdir": (_by_name("dir_fd"), _LOOKING),
    "utime": (_by_name("dir_fd"), _FLUSHING),
}
LOOKING = frozenset({"read", "pread", "readv", "stat", "scandir", "listdir"})
"""The process dies at none of these: a death before a look is one after the change before it."""

_readlink = os.readlink


@dataclass(slots=True)
class _Striking:
    plan: FaultPlan
    log: int
    random: random.Random
    append: Call
    began_s: float = field(default_factory=time.monotonic)
    calls: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def around(self, name: str, call: Call, where: Where, faults: tuple[Fault, ...]) -> Call:
        """Return ``call`` as a disk that fails would do it."""

        def struck(*given: Any, **named: Any) -> Any:
            path = where(given, named)
            if path is None or not path.startswith(self.plan.root):
                return call(*given, **named)
            if self.plan.die_at and name not in LOOKING and next(self.calls) == self.plan.die_at:
                self._die(name, call, given, named)
            fault = self._fault(name, given, faults)
            match fault:
                case None:
                    return call(*given, **named)
                case Fault.SLOW:
                    time.sleep(self.random.uniform(*SLOW_S))
                    return call(*given, **named)
                case Fault.SHORT:
                    return call(*_shortened(name, given), **named)
                case Fault.LOST_ANSWER:
                    call(*given, **named)
            raise OSError(_ERRNOS[fault], os.strerror(_ERRNOS[fault]), path)

        return struck

    def _fault(self, name: str, given: tuple[Any, ...], faults: tuple[Fault, ...]) -> Fault | None:
        age_s = time.monotonic() - self.began_s
        if not self.plan.after_s <= age_s < self.plan.until_s or self.random.random() >= self.plan.chance:
            return None
        fault = self.random.choice(faults)
        if fault is Fault.NO_SPACE and name == "open" and not given[1] & os.O_CREAT:
            fault = Fault.IO_ERROR
        self._note(fault, name)
        return fault

    def _die(self, name: str, call: Call, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._note(Fault.DIED, name)
        if self.random.random() < 0.5:
            call(*(_shortened(name, given) if name == "write" else given), **named)
        os.kill(os.getpid(), signal.SIGKILL)

    def _note(self, fault: Fault, name: str) -> None:
        self.append(self.log, f"{fault} {name}\n".encode())


def _shortened(name: str, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of the call for fewer bytes, at least one."""
    match name:
        case "write":
            return (given[0], memoryview(given[1])[: (len(given[1]) + 1) // 2])
        case "readv":
            return (given[0], [memoryview(given[1][0])[: (len(given[1][0]) + 1) // 2]])
        case _:
            return (given[0], (given[1] + 1) // 2, *given[2:])


def install(plan: FaultPlan) -> None:
    """Put the faults around the calls of this process."""
    log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    striking = _Striking(plan, log, random.Random(plan.seed), os.write)
    for name, (where, faults) in CALLS.items():
        setattr(os, name, striking.around(name, getattr(os, name), where, faults))
    durable._renameat2 = striking.around("renameat2", durable._renameat2, _by_rename, _NAMING)
