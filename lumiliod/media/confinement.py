"""What a media worker gives up before the first foreign byte, so that whoever takes it over can reach nothing.

Each protection is used as far as the kernel has it, and stands without the others.
"""

import contextlib
import ctypes
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from lumiliod.media import landlock, seccomp

OPEN_FILES = 128
OOM_SCORE = "800"
"""The kernel's out-of-memory killer takes a worker before anything else of ours."""
NICENESS = 10
"""What else the machine has to do, the API above all, goes before decoding."""
_LAST_OF_ORDINARY_IO = 2 << 13 | 7  # IOPRIO_CLASS_BE, linux/ioprio.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 23, 24, 36, 38  # linux/prctl.h
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_CAPABILITY_VERSION_3, _CAPABILITIES = 0x20080522, 64  # linux/capability.h
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)


def offered() -> tuple[str, ...]:
    """Return the names of the protections this kernel has, as :func:`confine` names them; nothing is given up."""
    protections = [f"landlock {landlock.version()}"] if landlock.version() else []
    return (*protections, "seccomp", "no network") if seccomp.is_offered() else tuple(protections)


def missing(protections: Iterable[str]) -> str | None:
    """Return in one line what of the protections that matter is not there, or None."""
    names = {name.partition(" ")[0] for name in protections}
    reasons = {
        "landlock": "no landlock: a worker can read what the daemon can",
        "seccomp": "no seccomp: a worker can start programs",
    }
    return "; ".join(reason for name, reason in reasons.items() if name not in names) or None


def bound(
    memory_limit_bytes: int, *, writes_files: bool = False, file_limit_bytes: int = 0, maps_devices: bool = False
) -> None:
    """Set the limits, memory on top of what the imports already took, and let everybody else go first.

    Without ``writes_files`` no file can grow, with it none beyond ``file_limit_bytes``, if that is not 0. With
    ``maps_devices`` what is only reserved does not count: drivers reserve more than any machine has.
    """
    statm = Path("/proc/self/statm").read_text().split()
    memory = int(statm[5 if maps_devices else 0]) * resource.getpagesize() + memory_limit_bytes
    for limit, value in (
        (resource.RLIMIT_DATA if maps_devices else resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, (file_limit_bytes or resource.RLIM_INFINITY) if writes_files else 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(limit, (value, value))
    os.umask(0o077)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    if (number := seccomp.number("ioprio_set")) is not None:  # elsewhere it follows from the niceness
        _libc.syscall(ctypes.c_long(number), ctypes.c_int(1), ctypes.c_int(0), ctypes.c_int(_LAST_OF_ORDINARY_IO))
    # whatever is started here stays below this process, where it is found when that is ended
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # a container may forbid it, and then its own limits stand; between sessions it is the group's niceness that counts
    for name, text in (("oom_score_adj", OOM_SCORE), ("autogroup", str(NICENESS))):
        with contextlib.suppress(OSError):
            Path("/proc/self", name).write_text(text)


def confine(
    packages: Iterable[str],
    devices: Sequence[str] = (),
    readable_too: Sequence[str] = (),
    writable_too: Sequence[str] = (),
) -> tuple[str, ...]:
    """Give up everything but thinking, what is open, and reading Python's folders and those of ``packages``.

    The process must have one thread. What fails is not among what is returned.

    Args:
        packages: loaded already.
        devices: what stays within reach to write to, too, where landlock keeps all else from it.
        readable_too: paths that stay within reach.
        writable_too: paths that stay within reach to write over what is there, too.

    Returns:
        The names of the protections in force.
    """
    has_own_network = _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _drop_capabilities()
    protections: list[str] = []
    with contextlib.suppress(OSError):
        if version := landlock.enforce([*readable(packages), *readable_too], devices, writable=writable_too):
            protections.append(f"landlock {version}")
    with contextlib.suppress(OSError):
        if seccomp.is_offered():
            seccomp.enforce(opens_devices=bool(devices and protections))
            protections.append("seccomp")
    has_no_network = has_own_network or "seccomp" in protections
    return (*protections, "no network") if has_no_network else tuple(protections)


def confine_program(programs: Iterable[str], readable: Iterable[str]) -> None:
    """Give up everything but reading what is below ``readable``, and reading and becoming what is below ``programs``.

    The process must have one thread. It stays root, if it is, as far as reading goes: files of others are read, too.

    Raises:
        OSError: the kernel has a protection and does not give it.
    """
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # what a program has after it was begun: of root's what is in the bounding set, and whatever is handed on besides
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _hand_on_no_capability()
    has_landlock = landlock.enforce(readable, programs=programs) > 0
    has_filter = seccomp.is_offered()
    if has_filter:
        seccomp.enforce(becomes_program=True)
    kept = _CAP_DAC_READ_SEARCH
    if has_landlock and has_filter and _libc.prctl(_PR_CAPBSET_READ, _CAP_DAC_READ_SEARCH, 0, 0, 0) != 1:
        kept = _CAP_DAC_OVERRIDE  # all that containers have to read with; nothing can be written with it here
    for capability in range(_CAPABILITIES):
        if capability != kept:
            _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def readable(packages: Iterable[str]) -> list[str]:
    """Return the folders that modules and libraries are loaded from as late as when they are needed."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = [sysconfig.get_path(name) for name in names]
    folders += [path for path in sys.path if path.endswith(("/site-packages", "/dist-packages"))]
    for package in packages:
        module = sys.modules[package]
        folders += getattr(module, "__path__", None) or [module.__file__ or ""]
    return sorted({os.path.realpath(folder) for folder in folders if folder})


def _hand_on_no_capability() -> None:
    header, held = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), ctypes.create_string_buffer(24)
    if _libc.capget(header, held) == 0:
        words = list(struct.unpack("=6I", held.raw))
        words[2] = words[5] = 0  # inheritable, of struct cap_user_data_t
        _libc.capset(header, struct.pack("=6I", *words))


def _drop_capabilities() -> None:
    """Give up every capability: root's, or those that a user namespace of one's own came with."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _libc.capset(header, bytes(24))
