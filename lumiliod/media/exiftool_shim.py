"""What becomes exiftool: a process that first gives up what reading tags never needs.

It opens files by their names, so it keeps reading those below the repositories and what Perl itself is made of; it can
write nothing, start no process and reach no network.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lumiliod.media import confinement

MEMORY_LIMIT_BYTES = 512 << 20
"""Real files take it some 60 MB; what inflates without end is given up the sooner."""
PROGRAMS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store", "/gnu/store", "/snap", "/etc/perl")
"""Where Perl and what it loads lie, beside the program itself and its prefix."""
_PREFIX = ("lib", "lib64", "libexec", "share")
NEEDED = ("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_START = "import sys; sys.path.insert(0, sys.argv[1]); from lumiliod.media import exiftool_shim; exiftool_shim.main()"


def command(folders: Sequence[str], program: Sequence[str]) -> list[str]:
    """Return the command of a process that becomes ``program`` and reads nothing but what is below ``folders``.

    It is killed with the thread that starts it: exiftool does not end when its standard input does (12.57 polls on).
    """
    root = str(Path(__file__).parents[2])
    python = [sys.executable, "-I", "-S", "-c", _START, root]  # without site-packages: a few milliseconds
    return [*python, str(os.getpid()), str(len(folders)), *folders, *program]


def main() -> None:
    """Become the program that the arguments name, as :func:`command` has put them."""
    _, _, parent, count, *others = sys.argv
    folders, program = others[: int(count)], others[int(count) :]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before it was asked for
        sys.exit(1)
    confinement.bound(MEMORY_LIMIT_BYTES)
    confinement.confine_program([*PROGRAMS, *_parts(program[0])], [*NEEDED, *folders])
    os.execv(program[0], program)  # noqa: S606  there is no shell between


def _parts(program: str) -> Iterator[str]:
    """Yield where a program lies and what belongs to it, and the same of its interpreter."""
    for one in filter(None, (program, _interpreter(program))):
        real = Path(one).resolve()
        yield str(real)
        yield str(real.parent / "lib")  # of exiftool unpacked where its author packed it
        if real.parent.name == "bin":
            yield from (str(real.parent.parent / name) for name in _PREFIX)


def _interpreter(program: str) -> str | None:
    """Return what a script's first line (``#!``) names, or has ``env`` look for; None of other programs."""
    with contextlib.suppress(OSError), Path(program).open("rb") as file:
        first = file.readline(4096)
        words = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
        if len(words) > 1 and Path(words[0]).name == "env":
            return shutil.which(words[1])
        return words[0] if words else None
    return None
