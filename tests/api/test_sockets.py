"""Whose the socket is, and what is in its way."""

import grp
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

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
    print(error.code)
"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
