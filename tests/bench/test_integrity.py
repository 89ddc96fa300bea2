"""The soak of integrity in its short form: the daemon is killed, and its disk fails, while originals come and go."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT

KILLS = os.environ.get("LUMILIO_INTEGRITY_KILLS", "24")


def test_nothing_is_lost() -> None:
    command = [sys.executable, "-m", "bench.integrity", "--kills", KILLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == int(KILLS)
    assert told["acknowledged"] > 0
    assert sum(told["faults"].values()) > 0
    assert [told[name] for name in ("lost", "foreign_changed", "orphans", "stuck", "failure")] == [0, 0, 0, 0, None]
