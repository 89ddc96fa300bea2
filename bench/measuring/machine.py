"""The machine: how many cores it has, what it is called, and what is installed on it."""

import os
import platform
import re
import subprocess
from pathlib import Path


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def version_of(program: str, *asking: str) -> str | None:
    """Return the version a program tells when it is asked by these arguments; None where it is not there."""
    try:
        said = subprocess.run([program, *asking], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else "unknown"


def exiftool_version() -> str | None:
    """Return exiftool's version; None where it is not there."""
    return version_of("exiftool", "-ver")


def cpu_name() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
