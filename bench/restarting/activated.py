"""A daemon behind a socket that is not its own, as systemd opens it: it stays while daemons come and go."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKLOG = 1024
STOP_LIMIT_S = 120.0
# descriptor 3 is the first that sd_listen_fds(3) tells of
_BECOME = """
import os, sys
fd = int(sys.argv[1])
if fd == 3:
    os.set_inheritable(3, True)
else:
    os.dup2(fd, 3)
    os.close(fd)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Activated:
    """Starts daemons on one listening socket, one after the other."""

    def __init__(self, listener: socket.socket, state_dir: Path, config: Path, log: Path) -> None:
        self._listener = listener
        self._command = ["-m", "lumiliod.daemon", "run", "--state-dir", str(state_dir), "--config", str(config)]
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start a daemon; it is ready when it answers."""
        fd = self._listener.fileno()
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BECOME, str(fd), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(fd,),
                env=os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "api"},
                start_new_session=True,
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon by a signal and return its exit status; RuntimeError when it does not go."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"the daemon does not stop within {STOP_LIMIT_S:.0f} s") from None


@contextmanager
def activated(path: Path, state_dir: Path, config: Path, log: Path) -> Iterator[Activated]:
    """Listen at ``path`` and hand out who starts daemons there; the last one is stopped in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(BACKLOG)
        daemon = Activated(listener, state_dir, config, log)
        try:
            yield daemon
        finally:
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()
