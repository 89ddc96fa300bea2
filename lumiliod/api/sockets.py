"""Unix sockets: where the API listens and who is at the other end."""

import fcntl
import grp
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import trio

from lumiliod.domain.errors import ConfigError

MAX_PATH_BYTES = 107
"""``sun_path`` holds 108 bytes on Linux, the last of them NUL (unix(7))."""

_FIRST_INHERITED_FD = 3
"""``SD_LISTEN_FDS_START`` (sd_listen_fds(3))."""

_BACKLOG = 1024

_TURN_S, _TURN_PAUSE_S = 5.0, 0.02
"""How long others like us may take to look who listens, and to listen."""


class Peer(NamedTuple):
    """Who connected, as the kernel knows it: process, user and group ids (``SO_PEERCRED``)."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: trio.socket.SocketType) -> Peer | None:
    """Return who connected to ``sock``, or None when it is not a Unix socket."""
    if sock.family != socket.AF_UNIX:
        return None
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return Peer(*struct.unpack("3i", raw))


@contextmanager
def listening(path: str, mode: int, group: str = "") -> Iterator[list[socket.socket]]:
    """Open the sockets to serve: those systemd passed on, else a new one at ``path``.

    Our own socket file is removed on leaving; the caller closes the sockets. Those passed on stay open all the same:
    who connects between two times of serving waits.

    Raises:
        ConfigError: ``path`` cannot be listened on; ``socket_in_use`` when a process answers there;
            ``socket_group`` when the file cannot belong to ``group``.
    """
    inherited = _inherited()
    if inherited:
        yield [sock.dup() for sock in inherited]
        return
    sock = _bound(path, mode, group)
    ours = Path(path).stat().st_ino
    try:
        yield [sock]
    finally:
        sock.close()
        try:
            if Path(path).stat().st_ino == ours:
                Path(path).unlink()
        except FileNotFoundError:
            pass


@cache
def _inherited() -> tuple[socket.socket, ...]:
    """Take over the stream sockets of socket activation, once, so that no child process sees them."""
    count = os.environ.pop("LISTEN_FDS", "")
    pid = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return ()
    sockets: list[socket.socket] = []
    for fd in range(_FIRST_INHERITED_FD, _FIRST_INHERITED_FD + int(count)):
        try:
            os.set_inheritable(fd, False)
            sock = socket.socket(fileno=fd)
        except OSError as error:
            message = f"LISTEN_FDS promises {count} sockets, and descriptor {fd} is none: {error.strerror}."
            raise ConfigError(message, code="socket_unusable") from error
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            message = f"The socket systemd passed as descriptor {fd} is not a listening stream socket."
            raise ConfigError(message, code="socket_unusable")
        if sock.family != socket.AF_UNIX:
            message = (
                f"The socket systemd passed as descriptor {fd} is on a network, where everybody would be an "
                "administrator; let ListenStream= in lumiliod.socket name a path."
            )
            raise ConfigError(message, code="socket_unusable")
        sock.setblocking(False)
        sockets.append(sock)
    return tuple(sockets)


def _bound(path: str, mode: int, group: str) -> socket.socket:
    """Listen at ``path``; the file never has more permissions than ``mode``, not even for a moment."""
    group_id = _group_id(group) if group else None
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ConfigError(
            f"The socket path is {len(os.fsencode(path))} bytes long and Linux allows {MAX_PATH_BYTES}: {path}",
            code="socket_path_too_long",
        )
    try:
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _turn(str(Path(path).parent)):
            _remove_stale(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                # bind() creates the file with the socket's own mode less the umask
                os.fchmod(sock.fileno(), mode if group_id is None else mode & ~0o070)
                sock.bind(path)
                if group_id is not None:
                    _give(path, group_id, group)
                Path(path).chmod(mode)
                sock.listen(_BACKLOG)
                sock.setblocking(False)
            except BaseException:
                sock.close()
                raise
    except PermissionError as error:
        raise ConfigError(_forbidden(path, error), code="socket_unusable") from error
    except OSError as error:
        raise ConfigError(f"Cannot listen on {path}: {error.strerror or error}.", code="socket_unusable") from error
    return sock


@contextmanager
def _turn(folder: str) -> Iterator[None]:
    """Keep others like us out of a folder from looking who listens until we do: two would take the same file for stale.

    Raises:
        ConfigError: somebody else keeps it (``socket_in_use``).
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until_s = time.monotonic() + _TURN_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until_s:
                    message = f"Another process keeps the folder {folder} locked."
                    raise ConfigError(message, code="socket_in_use") from None
                time.sleep(_TURN_PAUSE_S)
        yield
    finally:
        os.close(fd)


def _forbidden(path: str, error: OSError) -> str:
    """Say whose what is in the way is, and what would help."""
    told, us = f"Cannot listen on {path}: {error.strerror}.", os.geteuid()
    with suppress(OSError):
        owner = os.lstat(path).st_uid
        if owner != us:
            whose = f"It belongs to user {owner}, and this is user {us}"
            return f"{told} {whose}: end what uses it and remove it, or name another in server.socket."
    return f"{told} Let its folder belong to user {us}, or name another in server.socket."


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigError(
            f"server.socket_group: there is no group {name}; make it (groupadd --system {name}) or name another",
            code="socket_group",
        ) from error


def _give(path: str, group_id: int, name: str) -> None:
    """Let the socket file belong to a group."""
    try:
        os.chown(path, -1, group_id)
    except PermissionError as error:
        Path(path).unlink()
        raise ConfigError(
            f"server.socket_group: the daemon's user is no member of the group {name}, so its socket cannot be theirs",
            code="socket_group",
        ) from error


def _remove_stale(path: str) -> None:
    """Remove the socket file a dead process left behind; refuse when it lives or when it is something else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError(f"{path} exists and is not a socket.", code="socket_unusable")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except (BlockingIOError, TimeoutError):
            pass  # a full backlog is somebody, too
    raise ConfigError(f"Another process already listens on {path}.", code="socket_in_use")
