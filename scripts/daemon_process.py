"""The daemon as a child process: started, waited for, stopped in order."""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lumiliod.client import Client, ClientError

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
CONNECT_S = 5.0


class DaemonFailed(Exception):
    """The daemon did not start, or ended on its own; the message is what it said last."""


class AlreadyRunning(DaemonFailed):
    """Another daemon runs on the state folder."""


@dataclass(frozen=True)
class Daemon:
    """A running daemon; ``log`` is what it writes, None when that is the terminal."""

    process: "subprocess.Popen[bytes]"
    socket: Path
    log: Path | None

    def check(self) -> None:
        """Raise :class:`DaemonFailed` when it has ended."""
        status = self.process.poll()
        if status is not None:
            raise DaemonFailed(f"lumiliod ended with status {status}{self._last_words()}")

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), insist after a minute; return its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def _last_words(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return ":\n  " + "\n  ".join(lines[-5:]) if lines else ""


@contextlib.contextmanager
def running(
    state_dir: Path, *, config: Path | None = None, log: Path | None = None, scratch: Path | None = None
) -> Iterator[Daemon]:
    """Run a daemon for as long as the block takes; it is ready when the block begins.

    ``log`` takes what it writes, ``scratch`` its temporary files; else the terminal and the system's folder do.

    It has a session of its own, so that Ctrl-C reaches the caller alone and the daemon stops in order.

    Raises:
        AlreadyRunning: another one runs on this state folder.
        DaemonFailed: it does not come up.
    """
    socket_path = state_dir / "run" / "lumiliod.sock"
    _refuse_another(socket_path, None)
    if os.geteuid() == 0 and scratch is not None:
        state_dir.mkdir(mode=0o711, exist_ok=True)
    command = [sys.executable, "-m", "lumiliod.daemon", "run", "--state-dir", str(state_dir)]
    if config is not None:
        command += ["--config", str(config)]
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("ab")) if log else None
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=state_dir.parent,
            env=os.environ | ({"TMPDIR": str(scratch)} if scratch else {}),
        )
        daemon = Daemon(process, socket_path, log)
        stack.callback(daemon.stop)
        _wait_until_ready(daemon)
        yield daemon


def _wait_until_ready(daemon: Daemon) -> None:
    give_up_at = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < give_up_at:
        _refuse_another(daemon.socket, daemon.process.pid)
        daemon.check()
        if daemon.socket.exists():
            with contextlib.suppress(ClientError), Client(str(daemon.socket)) as client:
                if client.ready():
                    return
        time.sleep(0.05)
    raise DaemonFailed(f"lumiliod is not ready after {READY_TIMEOUT_S:.0f} s")


def _refuse_another(path: Path, ours: int | None) -> None:
    """Make sure that nobody but the process ``ours`` listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except OSError:
            return
        found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", found)
    if pid != ours:
        raise AlreadyRunning(f"lumiliod runs already (process {pid}) in {path.parent.parent}; its socket is {path}")


def temporary_folder(name: str) -> Path:
    """Make a folder for a throw-away daemon; the caller removes it.

    PostgreSQL refuses root. Where root may not make user namespaces either (containers), the daemon runs it as
    another user, who has to reach the state folder.
    """
    root = Path(tempfile.mkdtemp(prefix=f"lumilio-{name}-"))
    if os.geteuid() == 0:
        root.chmod(0o711)
    return root


@contextlib.contextmanager
def measuring(name: str) -> Iterator[Path]:
    """Give a bench a folder that is removed afterwards; what it fails by is said in a line and ends the program."""
    root = temporary_folder(name)
    try:
        yield root
    except (RuntimeError, DaemonFailed) as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def end_on_signals() -> None:
    """Let SIGTERM and SIGHUP unwind the program as Ctrl-C does."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def without_signals() -> None:
    """Ignore further signals: what is being cleaned up is cleaned up whole."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
