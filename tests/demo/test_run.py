"""``make run`` where a daemon runs already."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, Daemon


def test_a_second_run_says_where_the_first_is_and_changes_nothing(daemon: Daemon, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "scripts.run"],
        cwd=ROOT,
        env=os.environ | {"LUMILIO_STATE": str(daemon.state_dir), "PHOTOS": str(photos)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert daemon.process is not None
    first, second = done.stderr.splitlines()
    assert f"runs already (process {daemon.process.pid}) in {daemon.state_dir}" in first
    assert daemon.socket in first
    assert second.endswith(f"repos add {photos}")
    assert list(photos.iterdir()) == []
    with daemon.client as client:
        assert client.repositories() == []
