"""What the package does as root below folders of the daemon's user, who may have laid anything there."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = ROOT / "packaging/deb/debian"
LUMILIO = 990
"""The daemon's user, within."""

PASSWD = f"root:x:0:0::/root:/bin/sh\nlumilio:x:{LUMILIO}:{LUMILIO}::/var/lib/lumilio:/bin/sh\n"
GROUP = f"root:x:0:\nlumilio:x:{LUMILIO}:\nlumilio-admin:x:991:\nlumilio-media:x:992:lumilio\n"
HOSTILE = "home  /srv/photos\x1b[2J\x9b2J\n"


def is_possible() -> bool:
    """Tell whether this user may make a file system of its own to look at."""
    tools = all(shutil.which(tool) for tool in ("unshare", "setpriv", "chroot"))
    is_merged = Path("/bin").is_symlink()
    return (
        tools
        and is_merged
        and os.geteuid() == 0
        and subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0
    )


pytestmark = pytest.mark.skipif(not is_possible(), reason="takes root, namespaces and a merged /usr")


class Machine:
    """A file system with the programs of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.chmod(0o755)
        for name in ("usr", "dev", "etc", "run/lumilio", "tmp", "srv/photos", "var/cache", "var/lib/lumilio"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        (root / "etc/passwd").write_text(PASSWD)
        (root / "etc/group").write_text(GROUP)
        (root / "etc/sysusers.d").mkdir()
        shutil.copy(ROOT / "systemd/sysusers.d/lumilio.conf", root / "etc/sysusers.d")
        self.state = root / "var/lib/lumilio"
        os.chown(self.state, LUMILIO, LUMILIO)
        # what root alone may change
        self.precious = root / "etc/precious"
        self.precious.mkdir(mode=0o755)
        (self.precious / "server.log").write_text("precious")

    def run(self, script: str, action: str) -> str:
        """Run a script of the package as dpkg does; return what it said."""
        text = (SCRIPTS / f"lumilio.{script}").read_text().replace("/usr/bin/lumilio", "/told")
        (self.root / script).write_text(text)
        mount = 'mount --bind /usr "$1/usr"; mount -o remount,bind,ro "$1/usr"; mount --bind /dev "$1/dev"'
        mount += '; exec chroot "$1" /bin/sh "/$2" "$3"'
        command = ["unshare", "--mount", "sh", "-ec", mount, "sh", str(self.root), script, action]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def as_before(self) -> None:
        """See that what is root's is as it was."""
        found = self.precious.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o755)
        assert [one.name for one in self.precious.iterdir()] == ["server.log"]
        assert (self.precious / "server.log").read_text() == "precious"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "root").mkdir()
    return Machine(tmp_path / "root")


@contextmanager
def told(machine: Machine) -> Iterator[None]:
    """Have a daemon's socket there, and a command that lists what the daemon says."""
    (machine.root / "told").write_text(f"#!/bin/sh\nprintf '%s' '{HOSTILE}'\n")
    (machine.root / "told").chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        try:
            os.chdir(machine.root / "run/lumilio")
            listener.bind("lumiliod.sock")
        finally:
            os.chdir(here)
        yield


def test_what_purge_tells_is_written_and_told(machine: Machine) -> None:
    with told(machine):
        machine.run("prerm", "remove")
    written = machine.state / "repositories.txt"
    assert written.stat().st_uid == LUMILIO
    assert "/srv/photos" in written.read_text()
    said = machine.run("postrm", "purge")
    assert "home  /srv/photos" in said
    assert "\x1b" not in said
    assert "\x9b" not in said


def test_a_link_leads_root_nowhere_on_removal(machine: Machine) -> None:
    (machine.state / "repositories.txt").symlink_to("/etc/precious/server.log")
    with told(machine):
        machine.run("prerm", "remove")
    machine.as_before()


def test_links_lead_root_nowhere_on_purge(machine: Machine) -> None:
    secret = machine.root / "etc/secret"
    secret.write_text("hidden")
    secret.chmod(0o600)
    (machine.state / "repositories.txt").symlink_to("/etc/secret")
    (machine.state / "postgres").symlink_to("/etc/precious")
    assert "hidden" not in machine.run("postrm", "purge")
    machine.as_before()


def test_a_pipe_does_not_hold_up_a_purge(machine: Machine) -> None:
    os.mkfifo(machine.state / "repositories.txt")
    assert "catalogue is kept" in machine.run("postrm", "purge")


def test_links_lead_root_nowhere_on_an_upgrade(machine: Machine) -> None:
    (machine.state / "secrets").symlink_to("/etc/precious")
    machine.run("postinst", "configure")
    machine.as_before()


def test_an_installation_makes_the_folders(machine: Machine) -> None:
    machine.run("postinst", "configure")
    for folder, mode in (("var/lib/lumilio", 0o750), ("var/lib/lumilio/secrets", 0o700), ("var/cache/lumilio", 0o750)):
        found = (machine.root / folder).stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (LUMILIO, mode)


def test_a_purge_takes_caches_and_nothing_else(machine: Machine) -> None:
    cache = machine.root / "var/cache/lumilio"
    (cache / "films").mkdir(parents=True)
    (cache / "films/piece").write_text("x")
    (cache / "link").symlink_to("/srv/photos")
    for kept in ("srv/photos/a.jpg", "srv/photos/.lumiliorepo", "var/lib/lumilio/catalogue"):
        (machine.root / kept).write_text("x")
    (machine.state / "postgres").mkdir()
    (machine.state / "postgres/server.log").write_text("x")
    os.chown(machine.state / "postgres", LUMILIO, LUMILIO)
    said = machine.run("postrm", "purge")
    assert not cache.exists()
    assert not (machine.state / "postgres/server.log").exists()
    for kept in ("srv/photos/a.jpg", "srv/photos/.lumiliorepo", "var/lib/lumilio/catalogue"):
        assert (machine.root / kept).exists()
    assert "/var/lib/lumilio" in said


def test_a_repository_within_a_cache_is_kept(machine: Machine) -> None:
    photos = machine.root / "var/cache/lumilio/photos"
    photos.mkdir(parents=True)
    (photos / ".lumiliorepo").write_text("x")
    (photos / "a.jpg").write_text("x")
    assert "/var/cache/lumilio is kept" in machine.run("postrm", "purge")
    assert (photos / "a.jpg").exists()
