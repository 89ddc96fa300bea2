"""A client that asks for one thing after the other, and counts what is not answered."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ANSWER_LIMIT_S = 120.0
REQUEST = b"GET /api/v1/health/live HTTP/1.1\r\nHost: lumilio\r\nConnection: close\r\n\r\n"


class _Asking(threading.Thread):
    """Asks for one thing after the other until it is told to end."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.answered, self.failures, self.worst_s = 0, list[str](), 0.0
        self._path, self._end = path, threading.Event()

    def run(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                with socket.socket(socket.AF_UNIX) as asking:
                    asking.settimeout(ANSWER_LIMIT_S)
                    asking.connect(str(self._path))
                    asking.sendall(REQUEST)
                    first = asking.recv(4096)
                if not first.startswith(b"HTTP/1.1 200"):
                    self.failures.append(f"answered {first[:80]!r}")
                else:
                    self.answered += 1
            except OSError as error:
                self.failures.append(f"not answered: {error}")
            self.worst_s = max(self.worst_s, time.monotonic() - began)

    def end(self) -> str:
        """Let the last request end; tell what became of all."""
        self._end.set()
        self.join()
        assert not self.failures, "\n".join(self.failures)
        return f"{self.answered} requests, the longest took {self.worst_s:.1f} s"


@contextlib.contextmanager
def asking(path: Path) -> Iterator[Callable[[], str]]:
    """Ask as long as the block takes; gives what ends it and tells what became of all requests."""
    one = _Asking(path)
    one.start()
    try:
        yield one.end
    finally:
        with contextlib.suppress(AssertionError):
            one.end()
