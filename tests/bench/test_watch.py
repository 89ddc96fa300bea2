"""A disk that changes at random, in its short form: the catalogue is what the disk is after every burst."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OPERATIONS = os.environ.get("LUMILIO_WATCH_OPERATIONS", "350")
FILES = "150" if int(OPERATIONS) < 5000 else "1500"


@pytest.mark.parametrize("seed", os.environ.get("LUMILIO_WATCH_SEEDS", "4").split(","))
def test_the_catalogue_is_what_the_disk_is(seed: str) -> None:
    command = [sys.executable, "-m", "bench.watch", "--operations", OPERATIONS, "--files", FILES, "--seed", seed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["operations"] >= int(OPERATIONS)
    assert (told["mismatches"], told["failure"]) == (0, None)
    assert told["relations_checked"] > 0
