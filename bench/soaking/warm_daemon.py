"""A warm parent: everything that the daemon imports is imported, nothing has begun; every fork of it is a daemon.

Nothing of the daemon is changed: a fork runs what ``lumiliod``'s command line runs, in a session of its own. What is
saved is the interpreter's start and the imports, half a second of CPU for each life.

    python -m bench.soaking.warm_daemon < orders > answers
"""

import ctypes
import gc
import os
import sys
import tempfile
from contextlib import suppress

import msgspec

from bench.soaking import faults
from bench.soaking.orders import Begin, Order, Reap
from lumiliod import plugins
from lumiliod.daemon import appliance, logs, main

PLUGINS = ("lumilio.job", "lumilio.layout", "lumilio.backend")
IMPORTED = (appliance, logs)
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def serve() -> Begin:
    """Do what is ordered until the orders end; return, in the fork, what it shall be."""
    orders: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
    for line in sys.stdin.buffer:
        match orders.decode(line):
            case Begin() as begin:
                pid = os.fork()
                if pid == 0:
                    return begin
                answer = pid
            case Reap(pid=pid):
                answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                reap_orphans()
        print(answer, flush=True)
    sys.exit(0)


def reap_orphans() -> None:
    """Reap what killed daemons left and what has ended by now; the first process of a container may not."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def become(begin: Begin) -> None:
    """Be a process as the service manager would have started it."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(begin.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for fd, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(fd, number)
    os.close(nothing)
    os.close(log)
    os.chdir(begin.folder)
    os.environ.update(begin.environ)
    tempfile.tempdir = None
    sys.argv = ["lumiliod", *begin.arguments]
    sys.executable = begin.launcher
    if begin.faults is not None:
        faults.install(begin.faults)


if __name__ == "__main__":
    for group in PLUGINS:
        plugins.load_all(group)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a fork would lack the threads that run already")
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    gc.collect()
    gc.freeze()
    become(serve())
    main.main()
