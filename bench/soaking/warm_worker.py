"""A warm parent of zygotes: the decoders are imported; every fork of it is a zygote.

The daemon starts an interpreter; the launcher that stands for it hands its standard streams to this process, whose
fork takes them and runs what the interpreter would have run. Everything else that is to be interpreted is.

    python -m bench.soaking.warm_worker SOCKET
"""

import gc
import os
import pkgutil
import signal
import socket
import sys
from pathlib import Path

from lumiliod import plugins
from lumiliod.media import zygote

LAUNCHER = """#!{python} -IS
import os, socket, sys
if sys.argv[-1] != "lumiliod.media.zygote":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as parent:
    parent.connect({path!r})
    socket.send_fds(parent, [b"."], [0, 1, 2])
    os.close(0)
    os.close(1)
    parent.recv(1)
"""
"""Waits, as the zygote would run, until that has ended."""


def write_launcher(launcher: Path, path: str) -> None:
    """Write the program that stands for the interpreter; ``path`` is the socket of the warm parent."""
    launcher.write_text(LAUNCHER.format(python=sys.executable, path=path))
    launcher.chmod(0o755)


def serve(listener: socket.socket) -> socket.socket:
    """Fork for every connection; return, in the fork, the connection, which ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        with connection:
            _, streams, _, _ = socket.recv_fds(connection, 1, 3)
            if len(streams) == 3 and os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.setsid()
                for fd, number in zip(streams, (0, 1, 2), strict=True):
                    os.dup2(fd, number)
                    os.close(fd)
                return connection.dup()
        for fd in streams:
            os.close(fd)


def main(path: str) -> None:
    """Import the decoders, fork, and in the fork be a zygote."""
    for name in plugins.targets("lumilio.media").values():
        pkgutil.resolve_name(name)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError("a fork would lack the threads that run already")
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        held = serve(listener)
    with held:
        zygote.main()


if __name__ == "__main__":
    main(sys.argv[1])
