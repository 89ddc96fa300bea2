"""The hasher: a process that hashes files it is handed open, and does nothing else.

Started by :mod:`lumiliod.storage.hashers` as ``python -P -m lumiliod.storage.hasher`` with a socket of packets for its
standard input. Each packet is a file's size and comes with its descriptor; each answer is a digest, or ``REFUSED``. It
maps what it hashes, so there is nothing to copy; a file that is cut meanwhile, or a bad sector, ends this process alone
(SIGBUS). It ends when the socket closes.
"""

import mmap
import os
import resource
import select
import socket
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

NAME = "lumilio-hash"
"""What it is called where processes are listed."""
WINDOW_BYTES = 8 << 20
"""So much of a file is mapped at once, a multiple of any page's size; one that nobody waits for ends after it."""
REQUEST_BYTES = 8
"""A size in bytes, big-endian."""
REFUSED = b"-"
"""Such a file cannot be mapped."""


def main() -> None:
    """Answer packets on the socket that is the standard input until it closes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there is nothing to learn from a file that was cut
    with suppress(OSError):
        Path("/proc/self/comm").write_text(NAME)
    daemon = socket.socket(fileno=os.dup(0))
    with suppress(ConnectionError):
        while True:
            request, descriptors, _, _ = socket.recv_fds(daemon, REQUEST_BYTES, 1)
            if not descriptors:
                return
            try:
                answer = digest(descriptors[0], int.from_bytes(request, "big"), daemon)
            except ConnectionResetError:
                return
            except (OSError, ValueError):  # a file system that maps nothing; shorter than it was
                answer = REFUSED
            finally:
                os.close(descriptors[0])
            daemon.send(answer)


def digest(fd: int, size_bytes: int, daemon: socket.socket) -> bytes:
    """Return the digest (32 bytes) of an open file of so many bytes.

    Raises:
        OSError: it cannot be mapped. ValueError: it is shorter. ConnectionResetError: nobody waits for it any more.
    """
    hung_up = select.poll()
    hung_up.register(daemon, 0)  # POLLHUP is always told
    hasher = blake3()
    for start in range(0, size_bytes, WINDOW_BYTES):
        if hung_up.poll(0):
            raise ConnectionResetError
        length = min(WINDOW_BYTES, size_bytes - start)
        with mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=start) as window:
            hasher.update(window)
    return hasher.digest()


if __name__ == "__main__":
    main()
