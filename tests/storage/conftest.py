import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lumiliod.storage.repository import Repository, create


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    root = tmp_path / "library"
    root.mkdir()
    return create(str(root), "Library")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB; skipped where none can be mounted."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", path]).returncode:
        pytest.skip("cannot mount a small file system here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)
