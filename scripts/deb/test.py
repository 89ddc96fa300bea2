"""Install the package and see that it works: with a systemd that is booted for that, and without one.

Where this may be done (as root, with debootstrap and systemd-nspawn) it happens in a Debian of its own below
``build/test-deb``; elsewhere the package is unpacked and its daemon is run from there. Each step is printed; the exit
status is 0 when none failed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.deb import machine as machines
from scripts.deb import walk
from scripts.deb.steps import Steps

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "test-deb"


def main() -> None:
    """Test the package that the arguments name."""
    package = Path(sys.argv[1]).resolve()
    steps = Steps()
    WORK.mkdir(parents=True, exist_ok=True)
    steps.part(f"the package {package.name}")
    steps.step("lintian finds no error", lambda: _lint(package))
    steps.step("it needs no network, compiler or root of its own", lambda: _look_inside(package))
    steps.step("what its units and its documents name is in it", lambda: _documents(package))
    if os.geteuid() == 0 and _can_boot():
        newer = _newer(package)
        made = machines.base(WORK, _suite(), _mirror())
        steps.part("a Debian with systemd")
        with machines.fresh(made, WORK / "booted") as root, machines.booted(root, WORK / "booted.log") as machine:
            walk.with_systemd(steps, machine, package, newer)
        steps.part("a Debian in which no systemd runs")
        with machines.fresh(made, WORK / "bare") as root, machines.changed_root(root) as bare:
            walk.without_systemd(steps, bare, package)
    else:
        steps.skip("a Debian of its own", "that takes root, debootstrap and systemd-nspawn")
        steps.part("the package, unpacked")
        with tempfile.TemporaryDirectory(prefix="lumilio-deb-") as folder:
            walk.unpacked(steps, Path(folder), package)
    if steps.failed:
        sys.exit(f"test-deb: {len(steps.failed)} of {steps.count} steps failed: {'; '.join(steps.failed)}")
    print(f"test-deb: all {steps.count} steps ok")


def _lint(package: Path) -> str:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error", "--tag-display-limit", "5", str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = sum(line.startswith("W:") for line in done.stdout.splitlines())
    return f"{warnings} warnings"


def _look_inside(package: Path) -> str:
    listed = subprocess.run(["dpkg-deb", "-c", package], capture_output=True, text=True, check=True).stdout
    names = [line.split(maxsplit=5)[5].split(" -> ")[0] for line in listed.splitlines()]
    assert not [name for name in names if name.endswith((".pyc", "direct_url.json", "/pip/__init__.py"))]
    modes = {line.split()[0] for line in listed.splitlines()}
    assert not [mode for mode in modes if "s" in mode.lower()[1:]], "setuid or setgid"
    fields = subprocess.run(["dpkg-deb", "-f", package, "Depends"], capture_output=True, text=True, check=True).stdout
    needless = {"python3-pip", "python3-venv", "python3-dev", "gcc", "postgresql"} & set(
        re.findall(r"[a-z0-9.+-]+", fields)
    )
    assert not needless, str(needless)
    return f"{len(names)} files"


def _documents(package: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="lumilio-deb-") as folder:
        root = Path(folder)
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        units = "".join(unit.read_text() for unit in root.glob("*/lib/systemd/system/lumilio*"))
        units += "".join(unit.read_text() for unit in root.glob("lib/systemd/system/lumilio*"))
        named = {root / path for path in re.findall(r"file:///(\S+)", units)}
        assert named, "no unit names a document"
        own = root / "usr/share/doc/lumilio"
        for page in (*own.glob("*.md"), *own.glob("docs/*.md"), *own.glob("bench/*.md")):
            named |= {page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text())}
        missing = sorted(os.path.relpath(place, root) for place in named if not place.exists())
        assert not missing, f"not there: {', '.join(missing)}"
        return f"{len(named)} documents, pictures and examples"


def _newer(package: Path) -> Path:
    """Return the same package as a later version."""
    version = subprocess.run(
        ["dpkg-deb", "-f", package, "Version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    path = WORK / re.sub(r"_[^_]+_", f"_{version}+next_", package.name, count=1)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        subprocess.run(["dpkg-deb", "-R", package, f"{folder}/tree"], check=True)
        control = Path(folder, "tree", "DEBIAN", "control")
        control.write_text(control.read_text().replace(f"Version: {version}\n", f"Version: {version}+next\n"))
        subprocess.run(
            ["dpkg-deb", "-Zgzip", "-z1", "-b", f"{folder}/tree", str(path)], check=True, stdout=subprocess.DEVNULL
        )
    return path


def _can_boot() -> bool:
    return shutil.which("debootstrap") is not None and shutil.which("systemd-nspawn") is not None


def _suite() -> str:
    fields = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return fields["VERSION_CODENAME"].strip('"')


def _mirror() -> str:
    """Return where this machine's apt fetches from."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {_suite()}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    return found[0]


if __name__ == "__main__":
    main()
