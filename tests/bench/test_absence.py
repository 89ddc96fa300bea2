"""A disk that is taken away and brought back, in the short form: nothing is concluded from that."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_nothing_is_concluded_from_a_disk_that_is_away() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.absence", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["problems"] == []
    assert [absence["how"] for absence in told["absences"]] == ["at rest", "for a moment", "in the middle of a scan"]
    assert all(absence["reason"] for absence in told["absences"] if absence["how"] != "for a moment")
