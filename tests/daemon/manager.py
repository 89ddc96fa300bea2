"""A service manager, as far as a daemon sees one: a datagram socket that hears what it says, whoever listens."""

import os
import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HEARS_S = 90.0


class Manager:
    """What was heard and looked at so far, in order, a line an entry."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self.environ = {**os.environ, "NOTIFY_SOCKET": address}
        self.environ.pop("WATCHDOG_PID", None)
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def until(self, is_it: Callable[[str], bool]) -> str:
        """Look on until a line is as asked for, and return that; ``queue.Empty`` when nothing more is said."""
        while True:
            line = self.lines.get(timeout=HEARS_S)
            self.heard.append(line)
            if is_it(line):
                return line

    def rest(self) -> list[str]:
        """Look at all that was said until now; return everything."""
        while True:
            try:
                self.heard.append(self.lines.get_nowait())
            except queue.Empty:
                return self.heard


@contextmanager
def managing() -> Iterator[Manager]:
    """Hand out a manager."""
    with (
        tempfile.TemporaryDirectory(prefix="lum-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        address = str(Path(folder) / "notify")
        sock.bind(address)
        manager = Manager(address)

        def hear() -> None:
            # a daemon waits for who does not read
            while message := sock.recv(8192):
                for line in message.decode().splitlines():
                    manager.lines.put(line)

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield manager
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", address)
            thread.join()
