"""Kill an operation at every step, as ``kill -9`` would at the worst moment.

The operation runs in a process of its own, which ends itself by SIGKILL before its n-th step: a system call
that changes something on disk, or the commit of a transaction. Killing before step n is killing after step
n - 1, so every boundary is met while n grows until the operation ends by itself::

    for step in stepping.steps():
        place = prepare(step)
        was_killed = stepping.run(operation, place, kill_at=step)
        ...heal and check...
        if not was_killed:
            break

Operations are functions of a module with arguments that can be pickled; what they do counts from
:func:`armed` on. Told a folder whose power fails, the process takes with it whatever of that folder was not forced to
the disk (:mod:`tests.powerloss`).
"""

import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests import powerloss

TIMEOUT_S = 120.0
STEPS_MAX = 200
STRIDE = int(os.environ.get("LUMILIO_STRIDE", "3"))

KILLED: str = "killed"
POWERLESS: str = "powerless"
ENDS = 5
"""So often the power fails after everything was done: each time something else may be lost."""

_CALLS = frozenset({
    "os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime", "os.chmod",
})  # fmt: skip
"""Audit events (PEP 578) of calls that change names or files; each is raised before the call."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.stepping", "lumiliod.daemon.appliance"])


class _Counter:
    """Counts steps and ends the process before the one that is chosen; 0: never."""

    def __init__(self) -> None:
        self.kill_at = 0
        self.armed = False
        self.count = 0
        self.lock = threading.Lock()
        self.last_act: Callable[[], None] | None = None

    def step(self) -> None:
        if not self.armed:
            return
        with self.lock:
            self.count += 1
            if self.count == self.kill_at:
                if self.last_act is not None:
                    self.last_act()
                os.kill(os.getpid(), signal.SIGKILL)


_counter = _Counter()


@contextmanager
def armed() -> Iterator[None]:
    """Count the steps of what runs inside, in whatever thread."""
    _counter.armed = True
    try:
        yield
    finally:
        _counter.armed = False


def steps() -> Iterator[int]:
    """Yield 1, 2, 3 …, or every third from somewhere, unless ``LUMILIO_STRIDE`` is 1: then every one.

    An operation that never ends fails the test.
    """
    first = random.SystemRandom().randrange(1, STRIDE + 1)
    print(f"every {STRIDE}. step from {first}")
    yield from itertools.islice(itertools.count(first, STRIDE), STEPS_MAX)
    raise AssertionError(f"the operation has not ended after {STEPS_MAX} steps")


def ways(*healing: Callable[..., None]) -> list[tuple[Callable[..., None], str]]:
    """Return how to heal beside how to end: killed, or without power too; all of it if ``LUMILIO_STRIDE`` is 1."""
    every = [(heal, how) for heal in healing for how in (KILLED, POWERLESS)]
    return every if STRIDE == 1 else every[1:-1]


def run(operation: Callable[..., None], *args: Any, kill_at: int = 0, powerless: str | None = None) -> bool:
    """Run ``operation(*args)`` in a process of its own; tell whether it was killed before step ``kill_at``.

    When it is killed, or else at its end, the power of the folder ``powerless`` fails.
    """
    process = _context.Process(target=_child, args=(operation, args, kill_at, powerless))
    process.start()
    process.join(TIMEOUT_S)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
    process.close()
    assert code in (0, -signal.SIGKILL), f"{operation.__name__} ended with {code}"
    assert code == 0 or kill_at, f"{operation.__name__} was killed by somebody else"
    return code != 0


def _child(operation: Callable[..., None], args: tuple[Any, ...], kill_at: int, powerless: str | None) -> None:
    # how it ends leaves no time to save what was covered; to trace it would take as long as all the rest
    sys.settrace(None)
    threading.settrace(None)
    _counter.kill_at = kill_at
    if powerless is not None:
        from lumiliod.storage import durable

        powerloss.watch(powerless, durable, _counter.step)
        _counter.last_act = powerloss.lose
    _watch_calls()
    _watch_commits()
    operation(*args)
    if _counter.last_act is not None:
        _counter.last_act()
    sys.stdout.flush()
    # threads that wait for a socket would keep it
    os._exit(0)


def _watch_calls() -> None:
    def hear(event: str, args: tuple[Any, ...]) -> None:
        if getattr(powerloss.quiet, "is_set", False):
            return
        if event in _CALLS or (event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT):
            _counter.step()

    sys.addaudithook(hear)
    # what raises no event: write(2), fsync(2), and renameat2(2), which is called by its address
    from lumiliod.storage import durable

    for module, name in ((os, "write"), (os, "fsync"), (durable, "_renameat2")):
        setattr(module, name, _counted(getattr(module, name)))


def _watch_commits() -> None:
    import psycopg

    commit = psycopg.Connection.commit

    def counted(conn: psycopg.Connection[Any]) -> None:
        _counter.step()
        commit(conn)
        _counter.step()

    setattr(psycopg.Connection, "commit", counted)  # noqa: B010  in this process only


def _counted(call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        _counter.step()
        return call(*args, **kwargs)

    return counted
