"""The ways a package goes: installed, used, upgraded, removed, installed again, purged."""

import json
import subprocess
from pathlib import Path

from scripts.deb import by_hand, checks
from scripts.deb.machine import Booted, Machine
from scripts.deb.steps import Steps, until

START_LIMIT_S = 120.0


def with_systemd(steps: Steps, machine: Booted, package: Path, newer: Path) -> None:
    """Go all the way in a machine that runs systemd."""
    step = steps.step
    checks.put(machine, package, newer)
    if not step("install", lambda: machine.run("dpkg", "-i", "/root/now.deb")):
        return
    step("the socket is enabled and listens", lambda: checks.is_unit(machine, "lumiliod.socket"))
    step("the service is enabled and runs", lambda: checks.is_unit(machine, "lumiliod.service"))
    step("its units are clean", lambda: checks.verified(machine))
    step("its exposure is at most 2.0", lambda: checks.exposure(machine))
    step("the socket belongs to lumilio-admin, mode 0660", lambda: checks.socket_belongs(machine))
    step("folders belong to the daemon", lambda: checks.folders_belong(machine))
    step("inotify may watch enough", lambda: checks.watches(machine))
    step("every library finds what it needs", lambda: checks.linked(machine))
    step("manual pages and completions", lambda: checks.manual(machine))
    machine.run("useradd", "-m", "-G", "lumilio-admin", "ada")
    machine.run("useradd", "-m", "bob")
    step("a member of lumilio-admin is served", lambda: machine.run("lumilio", "status", user="ada"))
    step("somebody else is not, and hears why", lambda: checks.refused(machine))
    step("its line says what it does", lambda: checks.status_line(machine, "serving; no repository yet"))
    step("a folder of photographs becomes assets", lambda: checks.first_photographs(machine))
    step("nothing is degraded", lambda: checks.healthy(machine))
    step("a photograph that appears is noticed", lambda: checks.noticed(machine))
    step("an upload is taken", lambda: checks.uploaded(machine))
    step("its line counts repositories", lambda: checks.status_line(machine, "serving; 1 repository"))
    step("a repository outside of what it may write is refused, with what to do", lambda: checks.outside(machine))
    step("it logs to the journal", lambda: checks.journal(machine))
    step("SIGHUP: what can change changes, what cannot is named", lambda: checks.reloaded(machine))
    step("SIGHUP: a wrong file changes nothing", lambda: checks.reload_refused(machine))
    step("a wrong file at the start ends with 78 and is not tried again", lambda: checks.wrong_at_start(machine))
    step("a credential is loaded", lambda: checks.credential(machine))
    step("a stalled daemon is started anew by the watchdog", lambda: checks.watchdog(machine))
    step("a killed daemon is started anew", lambda: checks.killed(machine))
    step("a second daemon is refused", lambda: checks.second(machine))
    step("a worker of its own runs beside it", lambda: checks.worker(machine))
    step("twenty restarts: every request is answered", lambda: checks.restarts(machine))
    step("upgrade: the socket stays, every request is answered", lambda: checks.upgraded(machine))
    step("upgrade: the changed configuration is kept", lambda: checks.config_kept(machine))
    step("upgrade: nothing is lost", lambda: checks.assets(machine, 4))
    step("remove: no file of the programs is left", lambda: checks.removed(machine))
    step("remove: originals, catalogue and configuration are kept", lambda: checks.kept(machine, with_config=True))
    step("install again: everything is there", lambda: checks.again(machine))
    step("purge: caches and logs go, and it says where the rest is", lambda: checks.purged(machine))
    step("purge: originals and catalogue are kept", lambda: checks.kept(machine, with_config=False))
    step("install after a purge: everything is there", lambda: checks.again(machine))
    step("no unit of the machine failed", lambda: checks.no_failed_unit(machine))


def without_systemd(steps: Steps, machine: Machine, package: Path) -> None:
    """Install where nothing runs, and run the daemon by hand."""
    step = steps.step
    checks.put(machine, package, package)
    if not step("install", lambda: machine.run("dpkg", "-i", "/root/now.deb")):
        return
    step("user and groups", lambda: machine.run("sh", "-c", "id -nG lumilio | grep -q lumilio-media"))
    step("the daemon runs, by hand", lambda: by_hand.by_hand(machine))
    step("a stale socket file is taken away", lambda: by_hand.by_hand(machine, stale=True))
    step("a socket of another user is refused", lambda: by_hand.by_hand_refused(machine))
    step("a group that is not there is refused", lambda: by_hand.wrong_group(machine))
    step("install again over it", lambda: machine.run("dpkg", "-i", "/root/now.deb"))
    step("remove", lambda: checks.removed(machine))
    step("purge", lambda: checks.purged(machine))
    step("the catalogue is kept", lambda: checks.is_folder(machine, "/var/lib/lumilio/postgres/data"))


def unpacked(steps: Steps, folder: Path, package: Path) -> None:
    """Run the daemon from the unpacked package."""
    step = steps.step
    step("unpack", lambda: subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True) and None)
    python, state = folder / "usr/lib/lumilio/venv/bin/python", folder / "state"

    def run() -> str:
        log = folder / "daemon.log"
        with log.open("wb") as out:
            daemon = subprocess.Popen(
                [python, "-m", "lumiliod.daemon", "run", "--state-dir", state], stdout=out, stderr=out, cwd=folder
            )
        path = state / "run/lumiliod.sock"
        try:
            until(lambda: path.exists() or daemon.poll() is not None, "its socket", START_LIMIT_S)
            assert daemon.poll() is None, log.read_text()
            done = subprocess.run(
                [python, "-m", "lumiliod.cli", "--socket", path, "--json", "status"],
                capture_output=True, text=True, check=True, cwd=folder,
            )  # fmt: skip
            return str(json.loads(done.stdout)["health"])
        finally:
            daemon.terminate()
            assert daemon.wait(60) == 0, log.read_text()

    step("the daemon runs, and stops in order", run)
