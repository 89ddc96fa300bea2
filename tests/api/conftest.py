"""A short place for sockets: a path of pytest's own may be too long for one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def socket_path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lu") as folder:
        yield str(Path(folder) / "s")
