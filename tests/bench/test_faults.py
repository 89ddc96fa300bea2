"""The faults of the soak befall what lies below the root, and nothing else."""

import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.soaking.orders import FaultPlan
from tests.conftest import ROOT

PROGRAM = """
import os, sys
import msgspec
from bench.soaking import faults
from bench.soaking.orders import FaultPlan
from lumiliod.storage import durable

plan = msgspec.json.decode(sys.argv[1], type=FaultPlan)
folder = os.open(plan.root, os.O_RDONLY)
faults.install(plan)
failed = 0
for number in range(100):
    durable.write_file(sys.argv[2], b"elsewhere")
    try:
        name = f"{number}"
        fd = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=folder)
        try:
            durable.write_all(fd, b"0123456789")
        finally:
            os.close(fd)
        durable.rename_new(name, f"{name}.new", source_fd=folder, target_fd=folder)
        os.unlink(f"{name}.new", dir_fd=folder)
    except OSError:
        failed += 1
print(failed)
"""


def run(root: Path, elsewhere: Path, plan: FaultPlan) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, msgspec.json.encode(plan).decode(), str(elsewhere)]
    return subprocess.run(command, cwd=root.parent, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def test_calls_fail_below_the_root_only(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    done = run(root, tmp_path / "elsewhere", FaultPlan(root=str(root), seed=1, log=str(log), chance=0.2, until_s=60))
    assert done.returncode == 0, done.stderr
    assert 10 < int(done.stdout) < 90
    struck = [line.split() for line in log.read_text().splitlines()]
    assert {fault for fault, _ in struck} == {"io_error", "no_space", "short", "lost_answer", "slow"}
    assert {call for _, call in struck} == {"open", "write", "renameat2", "unlink"}


def test_the_process_dies_at_its_step(tmp_path: Path) -> None:
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    done = run(root, tmp_path / "elsewhere", FaultPlan(root=str(root), seed=1, log=str(log), die_at=4 * 7 + 2))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert log.read_text() == "died write\n"
    [left] = root.iterdir()
    assert left.name == "7"
    assert left.read_bytes() in (b"", b"01234")
