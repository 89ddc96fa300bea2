"""Whose the socket is, and what is in its way."""

import fcntl
import grp
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lumiliod.api import sockets
from lumiliod.api.sockets import listening
from lumiliod.domain.errors import ConfigError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
NOBODY = 65534


@pytest.fixture
def passable(short_dir: Path) -> Path:
    """Return a folder that others may pass through."""
    short_dir.chmod(0o711)
    return short_dir


def test_it_belongs_to_the_group_that_was_named(short_dir: Path) -> None:
    path = short_dir / "group.sock"
    group = grp.getgrgid(os.getegid()).gr_name
    with listening(str(path), 0o660, group) as [sock]:
        found = path.stat()
        assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (os.getegid(), 0o660)
        sock.close()
    assert not path.exists()


def test_a_group_that_is_not_there(short_dir: Path) -> None:
    path = short_dir / "none.sock"
    with pytest.raises(ConfigError) as caught, listening(str(path), 0o660, "no-such-group"):
        pass
    assert caught.value.code == "socket_group"
    assert "groupadd" in caught.value.message
    assert not path.exists()


@as_root
def test_a_group_of_others(passable: Path) -> None:
    """Somebody who is no member cannot give the socket to it, and nothing is left behind."""
    folder = passable / "ofothers"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    path = folder / "s"
    assert "socket_group" in _as_nobody(path, "'root'")
    assert not path.exists()


@as_root
def test_a_stale_socket_of_another_in_a_shared_folder(passable: Path) -> None:
    folder = passable / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    path.chmod(0o666)
    assert "socket_unusable" in _as_nobody(path, "''")
    assert path.exists()


def test_two_that_start_at_once_do_not_take_each_other_for_dead(short_dir: Path) -> None:
    """Who has its turn may have looked already, and not listen yet."""
    path = short_dir / "two"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    program = """
import sys
from lumiliod.api.sockets import listening
from lumiliod.domain.errors import ConfigError
print("begins", flush=True)
try:
    with listening(sys.argv[1], 0o660):
        print("listens")
except ConfigError as error:
    print(error.code)
"""
    turn = os.open(short_dir, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begins\n"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as first:
            first.bind(str(path))
            first.listen()
            os.close(turn)
            assert other.stdout.read() == "socket_in_use\n"
            assert path.exists()


def test_a_folder_that_somebody_keeps_locked(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_TURN_S", 0.0)
    turn = os.open(short_dir, os.O_RDONLY)
    fcntl.flock(turn, fcntl.LOCK_EX)
    with pytest.raises(ConfigError) as caught, listening(str(short_dir / "locked"), 0o660):
        pass
    os.close(turn)
    assert caught.value.code == "socket_in_use"
    with listening(str(short_dir / "locked"), 0o660) as [sock]:
        sock.close()


@as_root
def test_what_is_in_the_way_of_another_is_told_with_what_helps(passable: Path) -> None:
    folder = passable / "told"
    folder.mkdir()
    folder.chmod(0o1777)
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    told = _as_nobody(path, "''")
    assert f"belongs to user 0, and this is user {NOBODY}" in told
    assert "server.socket" in told
    folder.chmod(0o755)
    path.unlink()
    assert f"Let its folder belong to user {NOBODY}" in _as_nobody(path, "''")


def _inherits(family: socket.AddressFamily, address: str | tuple[str, int], count: str = "1") -> str:
    """Return what a process says that is to serve a socket it was given as systemd does."""
    program = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS=sys.argv[2], LISTEN_PID=str(os.getpid()))
from lumiliod.api.sockets import listening
from lumiliod.domain.errors import ConfigError
try:
    with listening("/nonexistent/s", 0o660) as sockets:
        print("serves", len(sockets))
except ConfigError as error:
    print(error.code, error.message)
"""
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        done = subprocess.run(
            [sys.executable, "-c", program, str(listener.fileno()), count],
            pass_fds=(listener.fileno(),),
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout


def test_sockets_that_are_passed_on(short_dir: Path) -> None:
    assert _inherits(socket.AF_UNIX, str(short_dir / "passed")) == "serves 1\n"
    # who may use it is said by the permissions of a file, and a port has none
    told = _inherits(socket.AF_INET, ("127.0.0.1", 0))
    assert told.startswith("socket_unusable")
    assert "ListenStream" in told
    assert _inherits(socket.AF_UNIX, str(short_dir / "many"), "4000").startswith("socket_unusable")


def _as_nobody(path: Path, group: str) -> str:
    """Return the code of the error that nobody gets for listening there."""
    program = f"""
import os, sys
from lumiliod.api.sockets import listening
from lumiliod.domain.errors import ConfigError
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
try:
    with listening({str(path)!r}, 0o660, {group}):
        print("listens")
except ConfigError as error:
    print(error.code, error.message)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
