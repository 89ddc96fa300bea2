"""The journal's native protocol: one datagram a record, with fields (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""

import errno
import logging
import os
import re
import socket
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"

PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.DEBUG, 7),
)
"""Levels as syslog counts them (syslog(3))."""

_ODD = re.compile(r"[^A-Z0-9_]")
_MAX_NAME = 64


def is_ours(environ: Mapping[str, str], fd: int = 2) -> bool:
    """Tell whether the journal reads what is written to ``fd``: ``JOURNAL_STREAM`` names its device and inode."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def encoded(fields: Mapping[str, str]) -> bytes:
    """Return fields as the protocol wants them; a value of several lines goes with its length."""
    parts = bytearray()
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts += b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)
        else:
            parts += b"%b=%b\n" % (name.encode(), data)
    return bytes(parts)


def field_name(name: str) -> str:
    """Return the name of one of our fields in the journal: ``LUMILIO_JOB``."""
    return f"LUMILIO_{_ODD.sub('_', name.upper())}"[:_MAX_NAME]


def priority(level: int) -> int:
    """Return a level as syslog counts it."""
    return next((number for least, number in PRIORITIES if level >= least), 7)


class Journal:
    """The journal's socket; what does not fit a datagram goes as a sealed file in memory.

    Raises:
        OSError: there is no journal.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # a journal that is held up must not hold up whoever logs
        self._socket.setblocking(False)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._path = path

    def send(self, fields: Mapping[str, str]) -> None:
        """Send one record.

        Raises:
            BlockingIOError: the journal is held up.
            OSError: it is away.
        """
        data = encoded(fields)
        try:
            self._socket.send(data)
        except OSError as error:
            if _is_too_large(error):
                self._send_file(data)
            elif isinstance(error, ConnectionError) or error.errno == errno.ENOTCONN:
                # journald was started anew, or was away when that was tried last
                self._socket.connect(self._path)
                self._socket.send(data)
            else:
                raise

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send_file(self, data: bytes) -> None:
        import fcntl

        file = os.memfd_create("lumilio-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with os.fdopen(os.dup(file), "wb") as writer:
                writer.write(data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
            socket.send_fds(self._socket, [b""], [file])
        finally:
            os.close(file)


def _is_too_large(error: OSError) -> bool:
    return error.errno in (errno.EMSGSIZE, errno.ENOBUFS)
