"""``lumilio doctor``, with a daemon and without one."""

import grp
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lumiliod.cli import doctor
from lumiliod.cli.doctor import lines, of_socket
from lumiliod.contract.doctor import Check, Checkup
from tests.conftest import Daemon

AREAS = {"groups", "socket", "daemon", "tools", "sandbox", "folders", "disk", "clock", "limits", "database"}


def by_name(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["area"], one["name"]): one for one in told["checks"]}


def test_a_running_daemon_is_asked(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    daemon.cli("repos", "add", str(tmp_path / "home"), "--name", "home")
    done = daemon.cli("doctor", "--json", check=False)
    told = json.loads(done.stdout)
    found = by_name(told)
    states = {one["state"] for one in told["checks"]}
    assert done.returncode == (2 if "fail" in states else 1 if "warn" in states else 0)
    assert {one["area"] for one in told["checks"]} >= AREAS | {"repositories"}
    for name in (("socket", "daemon"), ("daemon", "version"), ("database", "server"), ("database", "migrations")):
        assert found[name]["state"] == "ok", found[name]
    assert found["repositories", "home"]["state"] != "warn" or "free" in found["repositories", "home"]["told"]
    assert all((one["fix"] is None) == (one["state"] == "ok") for one in told["checks"])
    (tmp_path / "home" / ".lumiliorepo").unlink()
    daemon.cli("scan", "home", check=False)
    said = daemon.cli("doctor", check=False)
    assert "database: server: PostgreSQL" in said.stdout


def test_without_a_daemon_its_program_looks(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    done = daemon.cli("doctor", "--json", "--state-dir", str(daemon.state_dir), check=False)
    assert done.returncode == 2
    found = by_name(json.loads(done.stdout))
    assert found["socket", "daemon"]["state"] == "fail"
    assert "systemctl start lumiliod" in found["socket", "daemon"]["fix"]
    assert ("sandbox", "protections") in found
    assert ("tools", "python") in found
    assert found["database", "server"]["state"] == "fail"


def test_a_configuration_that_is_wrong_is_told(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[database]\nurl = "postgresql://u:secret-word@h/d"\n')
    done = make_daemon().cli("doctor", "--config", str(tmp_path / "bad.toml"), check=False)
    assert done.returncode == 2
    assert "database.url" in done.stdout
    assert "secret-word" not in done.stdout + done.stderr


def test_sockets(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert of_socket(str(path)).state == "fail"
    path.write_text("")
    assert "no socket" in of_socket(str(path)).told
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        path.chmod(0o660)
        assert "left it behind" in of_socket(str(path)).told
        listener.listen()
        assert of_socket(str(path)).state == "ok"
        path.chmod(0o666)
        assert of_socket(str(path)).state == "warn"
    assert of_socket(str(path)).state == "fail"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use any socket")
def test_a_socket_of_others(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        (tmp_path / "s").chmod(0)
        found = of_socket(str(tmp_path / "s"))
    assert found.state == "fail"
    assert found.fix is not None
    assert "lumilio-admin" in found.fix


def test_what_people_read() -> None:
    checks = [
        Check(area="disk", name="home\x1b[2J", state="fail", told="full", fix="Make room."),
        Check(area="tools", name="python", state="ok", told="3.11"),
    ]
    said = list(lines(Checkup(checks=checks)))
    assert "\x1b[2J" not in "".join(said)
    assert said[1].strip() == "Make room."
    assert said[-1] == "1 ok, 0 to look at, 1 that do not work"


def test_modules_that_lie_where_one_stands_are_left_alone(make_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A folder of photographs is somebody else's to fill, and root may stand there."""
    for name in ("msgspec", "trio", "lumiliod"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    daemon = make_daemon()
    command = [sys.executable, "-P", "-m", "lumiliod.cli", "--socket", daemon.socket, "--json", "doctor"]
    done = subprocess.run(
        [*command, "--state-dir", str(daemon.state_dir)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ("sandbox", "protections") in by_name(json.loads(done.stdout)), done.stderr
    assert not (tmp_path / "ran").exists()


def of_groups(path: Path) -> Check:
    [found] = [one for one in doctor._of_user(str(path)) if one.area == "groups"]
    return found


def test_who_is_no_admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said of the group's members as the system knows them, and of those who have to sign in again."""
    path = tmp_path / "none"
    monkeypatch.setattr(os, "geteuid", lambda: 65_533)
    monkeypatch.setattr(os, "getgroups", list)
    monkeypatch.setattr(os, "getegid", lambda: 65_533)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: pwd.struct_passwd(("ada", "x", number, 0, "", "/", "/")))
    group = grp.struct_group(("lumilio-admin", "x", 65_532, ["bob"]))
    monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
    found = of_groups(path)
    assert (found.state, found.told) == ("warn", "ada is not in it")
    assert "usermod -aG lumilio-admin ada" in str(found.fix)

    group = grp.struct_group(("lumilio-admin", "x", 65_532, ["ada"]))
    assert of_groups(path).fix == "Sign out and in again."
    monkeypatch.setattr(os, "getgroups", lambda: [65_532])
    assert of_groups(path).state == "ok"

    def none(name: str) -> grp.struct_group:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", none)
    assert "groupadd" in str(of_groups(path).fix)


@pytest.mark.parametrize(("is_kept", "state"), [(True, "ok"), (None, "ok"), (False, "warn")])
def test_a_clock_that_nobody_keeps(is_kept: bool | None, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_synchronised", lambda: is_kept)
    found = doctor._of_clock()
    assert (found.state, found.fix is None) == (state, state == "ok")


def test_a_daemon_that_answers_nonsense(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):  # who only looks whether somebody listens is gone by now
                        connection.recv(1 << 16)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{")

        answering = threading.Thread(target=answer)
        answering.start()
        try:
            [found] = doctor._of_daemon(str(path))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.join()
    assert (found.area, found.name, found.state) == ("daemon", "answer", "fail")
    assert "journalctl" in str(found.fix)
