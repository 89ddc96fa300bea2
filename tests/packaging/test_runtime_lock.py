"""What of the lock goes into the package: all that the installation imports, nothing that only development needs."""

import importlib.metadata
import re

import pytest

from scripts.deb.runtime_lock import needed, wanted
from tests.conftest import ROOT

LOCK = """\
alpha==1 \\
    --hash=sha256:0
    # via lumilio (pyproject.toml)
beta-parts==2 ; python_full_version < '3.12' \\
    --hash=sha256:1
    # via
    #   alpha
    #   tool
beta-parts==3 ; python_full_version >= '3.12' \\
    --hash=sha256:2
    # via
    #   alpha
    #   tool
tool==4 \\
    --hash=sha256:3
    # via lumilio (pyproject.toml)
tool-part==5 \\
    --hash=sha256:4
    # via tool
"""


def test_what_is_needed_and_whatever_that_needs() -> None:
    kept = needed(LOCK, ["Alpha"])
    assert [line.split(" ")[0] for line in kept.splitlines() if "==" in line] == [
        "alpha==1",
        "beta-parts==2",
        "beta-parts==3",
    ]
    assert kept.count("--hash") == 3
    with pytest.raises(ValueError, match="gamma"):
        needed(LOCK, ["gamma"])


def test_the_project_finds_all_it_requires() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    kept = needed((ROOT / "requirements.lock").read_text(), wanted(project, ["s3"]))
    names = {re.sub(r"[-_.]+", "-", line.split("==")[0]) for line in kept.splitlines() if re.match(r"[a-z0-9]", line)}
    assert not names & {"pytest", "mypy", "ruff", "hatchling", "hypothesis", "pyright", "moto"}
    # by what the installed packages say of themselves, nothing is missing
    for name in names:
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in requires:
            # conditions are those of extras and of other systems; some of ours are among them
            if ";" not in requirement:
                required = re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()
                assert required in names, f"{name} requires {requirement}"


def test_every_package_comes_with_its_licence() -> None:
    """Beside it, as its makers put it there; of others the package's own list has it."""
    project = (ROOT / "pyproject.toml").read_text()
    kept = needed((ROOT / "requirements.lock").read_text(), wanted(project, ["s3"]))
    told = (ROOT / "packaging/deb/debian/copyright").read_text()
    seen = 0
    for name in re.findall(r"^[a-z0-9][\w.-]*(?===)", kept, re.MULTILINE):
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # another system's
        seen += 1
        has_licence = any(re.search("licen[cs]e|copying|notice", str(file), re.IGNORECASE) for file in files)
        assert has_licence or f"/site-packages/{name}/*" in told, name
    assert seen > 20
    # one that another package carries within
    assert "/site-packages/prometheus_client/decorator.py" in told
    assert "Michele Simionato" in told
