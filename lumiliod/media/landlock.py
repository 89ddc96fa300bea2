"""Landlock: files and networks out of reach of the calling thread and all it starts (landlock(7), linux/landlock.h)."""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every machine
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE, _IOCTL_DEV = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""From which version on how many rights over files there are: REFER, TRUNCATE and IOCTL_DEV came later."""
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract sockets and signals stay within

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def version() -> int:
    """Return the version of the kernel's interface, 0 where there is none or it is turned off."""
    return max(0, int(_libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))))


def enforce(
    readable: Iterable[str],
    devices: Iterable[str] = (),
    programs: Iterable[str] = (),
    writable: Iterable[str] = (),
) -> int:
    """Give up, as far as the kernel's version goes, all files but those below ``readable``, TCP and signals to others.

    What is in ``devices`` can be read, written and asked for what devices do besides; what is below ``programs`` can
    be read and run; what there is below ``writable`` can be read and written over.

    What is open stays open. The thread must have no new privileges.

    Returns:
        The version; 0 says that nothing was given up.

    Raises:
        OSError: the kernel does not take the rules.
    """
    abi = version()
    if not abi:
        return 0
    rights = (1 << max(count for since, count in _FILE_RIGHTS.items() if abi >= since)) - 1
    attributes = struct.pack("=Q", rights)
    if abi >= _TCP_SINCE:
        attributes += struct.pack("=Q", _TCP)
    if abi >= _SCOPES_SINCE:
        attributes += struct.pack("=Q", _SCOPES)
    rules = _checked(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    try:
        for path in readable:
            _allow(rules, path, _READ_FILE | _READ_DIR)
        for path in programs:
            _allow(rules, path, _EXECUTE | _READ_FILE | _READ_DIR)
        for path in writable:
            _allow(rules, path, (_READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE) & rights)
        for path in devices:
            _allow(rules, path, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & rights)
        _checked(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint(0))
    finally:
        os.close(rules)
    return abi


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no leave
    try:
        try:
            is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        except OSError:
            return  # a mount whose other end is gone
        allowed = rights if is_folder else rights & ~_READ_DIR
        _checked(
            _ADD_RULE,
            ctypes.c_int(rules),
            ctypes.c_int(_PATH_BENEATH),
            struct.pack("=Qi", allowed, descriptor),
            ctypes.c_uint(0),
        )
    finally:
        os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
