"""The console on a real terminal, in the short form: every key leads to the row that it should."""

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_every_key_is_answered() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.tui", "--short"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["jobs"], told["keys"]) == (20_000, 200)
