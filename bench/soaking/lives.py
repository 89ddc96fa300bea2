"""Lives of the daemon: each is begun by the warm parents in milliseconds, looked after, and ended."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.soaking.orders import Begin, FaultPlan, Order, Reap
from bench.soaking.warm_worker import write_launcher
from lumiliod.client import Client, ClientError

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 120.0
LOOK_S = 0.005
THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "OPENCV_FOR")}
"""As the daemon has it for its media workers: a parent of forks can have no threads."""


class LifeFailed(Exception):
    """The daemon did not start, or ended on its own; the message is what it said last."""


@dataclass(frozen=True, slots=True)
class Life:
    """A daemon that runs, or has run."""

    pid: int
    handle: int
    log: Path
    statuses: list[int] = field(default_factory=list[int])

    def status(self) -> int:
        """Return its exit status, negative for a signal, once it has ended."""
        return self.statuses[0]

    def ended(self, within_s: float = 0.0) -> bool:
        """Tell whether it has ended, as soon as it does."""
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still is."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return ":\n  " + "\n  ".join(lines[-8:]) if lines else ""


@dataclass(slots=True)
class Lives:
    """The warm parents of one state folder. Only one life at a time."""

    root: Path
    state_dir: Path
    parent: "subprocess.Popen[bytes]"
    launcher: Path
    answers: "msgspec.json.Decoder[int]" = field(default_factory=lambda: msgspec.json.Decoder(int))

    @property
    def socket(self) -> Path:
        """The daemon's."""
        return self.state_dir / "run" / "lumiliod.sock"

    @contextlib.contextmanager
    def life(self, config: Path, faults: FaultPlan | None = None) -> Iterator[Life]:
        """Begin a life, ready or not; what still lives after the block is killed."""
        log = self.root / "log"
        begin = Begin(
            arguments=["run", "--state-dir", str(self.state_dir), "--config", str(config)],
            folder=str(self.root),
            log=str(log),
            environ={"TMPDIR": str(self.root / "tmp")},
            launcher=str(self.launcher),
            faults=faults,
        )
        pid = self._order(begin)
        handle = os.pidfd_open(pid)
        life = Life(pid, handle, log)
        try:
            yield life
        finally:
            life.send(signal.SIGKILL)
            life.statuses.append(self._order(Reap(pid=pid)))
            os.close(handle)

    def wait_until_ready(self, life: Life, client: Client) -> bool:
        """Wait until it serves requests; False when it ended first.

        Raises:
            LifeFailed: it does neither.
        """
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < give_up_at:
            if life.ended(LOOK_S):
                return False
            if self._listens():
                with contextlib.suppress(ClientError):
                    if client.ready():
                        return True
        raise LifeFailed(f"lumiliod is not ready after {READY_TIMEOUT_S:.0f} s{life.last_words()}")

    def stop(self, life: Life) -> None:
        """End it in order.

        Raises:
            LifeFailed: it does not end.
        """
        life.send(signal.SIGTERM)
        if not life.ended(STOP_TIMEOUT_S):
            raise LifeFailed(f"lumiliod does not stop{life.last_words()}")

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def _order(self, order: Order) -> int:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(msgspec.json.encode(order) + b"\n")
        self.parent.stdin.flush()
        answer = self.parent.stdout.readline()
        if not answer:
            raise LifeFailed("the warm parent has ended")
        return self.answers.decode(answer)


@contextlib.contextmanager
def warm(root: Path, state_dir: Path) -> Iterator[Lives]:
    """Have warm parents of daemons, and of their media workers, that work in ``root``."""
    with contextlib.ExitStack() as stack:
        launcher, path = root / "python", root / "workers.sock"
        write_launcher(launcher, str(path))
        workers = stack.enter_context(_parent("warm_worker", str(path)))
        assert workers.stdout is not None
        if workers.stdout.readline() != b"ready\n":
            raise LifeFailed("the warm parent of media workers does not start")
        yield Lives(root, state_dir, stack.enter_context(_parent("warm_daemon")), launcher)


@contextlib.contextmanager
def _parent(name: str, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.soaking.{name}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | THREADS,
    )
    try:
        yield process
    finally:
        process.kill()
        with process:
            pass
