"""The zygote: a process with the decoders imported, each fork of which is a media worker.

Started by the fork server as ``python -m lumiliod.media.zygote`` with a socket for its standard input. It never sees a
foreign byte: it hears which media types to load, then forks for each descriptor it is given, reaps those it is told to,
and ends when the socket closes. A fork takes some milliseconds where imports take hundreds, and shares their memory.
"""

import contextlib
import ctypes
import gc
import os
import socket
from pathlib import Path

import msgspec

from lumiliod.media import worker
from lumiliod.media.wire import Fork, Reap, Spawned, Warm, ZygoteOrder, frame

NAME = "lumilio-media"
"""What a worker is called where processes are listed."""
KEPT_BYTES = 32 << 20
"""So much freed memory a worker keeps for its next picture. The kernel would have to clear it anew, page by page: that
took an eighth of the time of a 12-megapixel JPEG."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h; glibc raises the second to 32 MiB by itself at most


def main() -> None:
    """Obey frames on the socket that is the standard input until it closes; in a fork, be a media worker."""
    control = socket.socket(fileno=os.dup(0))
    _keep_freed_memory()
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)  # libraries print
    first, _ = worker.received(control)
    if first is None:
        return
    try:
        media_types = worker.loaded(msgspec.msgpack.decode(first, type=Warm).media_types)
        if len(os.listdir("/proc/self/task")) != 1:
            raise RuntimeError("an import started a thread, which forks would lack")
    except (Exception, SystemExit) as error:  # the edge: other people's packages raise whatever they like
        control.sendall(frame(worker.failed("permanent", "no_worker", f"{type(error).__name__}: {error}")))
        return
    gc.collect()
    gc.freeze()  # what is never looked at stays shared
    control.sendall(frame(Spawned(os.getpid())))
    own = _obey(control)
    if own is not None:
        worker.serve(own, media_types)
    os._exit(0)  # nothing is to be done at the end, and nothing shared to be touched


def _obey(control: socket.socket) -> socket.socket | None:
    """Fork and reap as told; return, in a fork, the socket it is to serve, and at the end None."""
    orders = msgspec.msgpack.Decoder(ZygoteOrder)
    while True:
        payload, descriptors = worker.received(control)
        if payload is None:
            return None
        match orders.decode(payload):
            case Fork() if len(descriptors) == 1:
                try:
                    pid = os.fork()
                except OSError as error:  # no memory, or no room for processes, for now
                    os.close(descriptors[0])
                    control.sendall(frame(worker.failed("unavailable", "no_worker", f"no fork: {error.strerror}")))
                    continue
                if pid == 0:
                    os.setsid()
                    with contextlib.suppress(OSError):
                        Path("/proc/self/comm").write_text(NAME)
                    _close_all_but(descriptors[0])
                    return socket.socket(fileno=descriptors[0])
                os.close(descriptors[0])
                control.sendall(frame(Spawned(pid)))
            case Reap(pid=pid):
                os.waitpid(pid, 0)
            case _:
                return None


def _keep_freed_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)


def _close_all_but(kept: int) -> None:
    """Close every descriptor above the standard streams but one: a worker has nothing of the zygote's."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with contextlib.suppress(OSError):  # the one that read the folder is closed already
                os.close(int(name))


if __name__ == "__main__":
    main()
