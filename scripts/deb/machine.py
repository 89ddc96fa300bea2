"""A Debian of its own to install the package in: a folder, booted by systemd-nspawn where systemd is to be there."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# what the package depends on, and what these checks use; so nothing is fetched while it is installed
PACKAGES = (
    "adduser", "dbus", "libimage-exiftool-perl", "man-db", "procps", "python3", "systemd-sysv", "tzdata", "util-linux",
)  # fmt: skip
BOOT_LIMIT_S = 180.0
COMMAND_LIMIT_S = 300.0
POWER_OFF_LIMIT_S = 90.0


class MachineFailed(Exception):
    """It cannot be made or does not boot."""


class Machine:
    """Runs commands in it."""

    def __init__(self, root: Path, enter: Sequence[str]) -> None:
        self.root = root
        self._enter = enter

    def run(self, *command: str, check: bool = True, user: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command as root, or as ``user``; its output is text.

        Raises:
            AssertionError: it fails, and ``check`` is set.
        """
        become = ["runuser", "-u", user, "--"] if user is not None else []
        done = subprocess.run(
            [*self._enter, *become, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def out(self, *command: str, user: str | None = None) -> str:
        """Run a command and return what it says."""
        return self.run(*command, user=user).stdout.strip()

    def path(self, inside: str) -> Path:
        """Return where a path of it lies outside."""
        return self.root / inside.lstrip("/")


class Booted(Machine):
    """One that runs systemd: its first process is ``leader`` here."""

    def __init__(self, root: Path, leader: int) -> None:
        super().__init__(root, ("nsenter", "--target", str(leader), "--all", "--"))
        self.leader = leader

    def path(self, inside: str) -> Path:
        """Return where a path of it lies outside, mounted file systems included."""
        return Path(f"/proc/{self.leader}/root") / inside.lstrip("/")


def base(folder: Path, suite: str, mirror: str) -> Path:
    """Return the folder of a Debian as it is after its installation, made once."""
    made = folder / f"base-{suite}"
    if made.exists():
        return made
    fresh = folder / f"new-{suite}"
    shutil.rmtree(fresh, ignore_errors=True)
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(fresh), mirror],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MachineFailed("debootstrap: " + "\n".join((done.stdout + done.stderr).splitlines()[-5:]))
    (fresh / "var/cache/apt/archives").rename(fresh / "var/cache/apt/none")
    (fresh / "var/cache/apt/archives/partial").mkdir(parents=True)
    shutil.rmtree(fresh / "var/cache/apt/none")
    fresh.rename(made)
    return made


@contextlib.contextmanager
def fresh(made: Path, root: Path) -> Iterator[Path]:
    """Hand out a copy of a base; it is removed afterwards."""
    _remove(root)
    subprocess.run(["cp", "-a", "--reflink=auto", f"{made}/.", f"{root}/"], check=True)
    try:
        yield root
    finally:
        _remove(root)


@contextlib.contextmanager
def changed_root(root: Path) -> Iterator[Machine]:
    """Hand out a machine on which nothing runs: a changed root with process folders of its own."""
    command = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc=" + str(root / "proc"))
    yield Machine(root, (*command, "chroot", str(root)))


@contextlib.contextmanager
def booted(root: Path, log: Path) -> Iterator[Booted]:
    """Boot a machine without a network, and power it off in the end.

    Raises:
        MachineFailed: it does not come up.
    """
    command = ["systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--console=pipe", "--private-network"]
    # its own filter does not know landlock, which a real machine has
    command.append("--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, f"--directory={root}"], stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            machine = Booted(root, _leader(process, log))
            _wait_until_up(machine, process, log)
            yield machine
            machine.run("systemctl", "poweroff", check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POWER_OFF_LIMIT_S)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(POWER_OFF_LIMIT_S)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def _leader(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """Return the process id here of the machine's first process."""
    give_up_at = time.monotonic() + BOOT_LIMIT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            for child in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
                ids = [line for line in Path(f"/proc/{child}/status").read_text().splitlines() if "NSpid" in line]
                if ids and ids[0].split()[-1] == "1" and Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return child
        time.sleep(0.1)
    raise MachineFailed("systemd does not start:\n" + log.read_text(errors="replace")[-2000:])


def _wait_until_up(machine: Booted, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + BOOT_LIMIT_S
    state = ""
    while time.monotonic() < give_up_at and process.poll() is None:
        state = machine.run("systemctl", "is-system-running", check=False).stdout.strip()
        if state in {"running", "degraded"}:
            return
        time.sleep(0.3)
    raise MachineFailed(f"the machine does not come up ({state}):\n" + log.read_text(errors="replace")[-2000:])


def _remove(root: Path) -> None:
    if root.exists():
        subprocess.run(["chattr", "-R", "-i", str(root / "var/empty")], check=False, capture_output=True)
        shutil.rmtree(root)
