"""Small file systems that can be filled in no time, where the machine allows to mount them; and filling them."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

SIZE_MB = 192
STEP_BYTES = 4096


def mounted(folder: Path) -> str:
    """Mount a small file system on ``folder``; return its kind, or the reason why there is none."""
    if os.geteuid() != 0:
        return "not mounted: not root"
    image = folder.with_name("disk.img")
    with image.open("wb") as file:
        file.truncate(SIZE_MB << 20)
    for kind, commands in (
        ("ext4", (["mkfs.ext4", "-q", "-m", "0", str(image)], ["mount", "-o", "loop", str(image), str(folder)])),
        ("tmpfs", (["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)],)),
    ):
        if all(_runs(command) for command in commands):
            return kind
    image.unlink()
    return "not mounted: mount is not allowed here"


def unmount(folder: Path) -> None:
    """Undo :func:`mounted`."""
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _runs(command: list[str]) -> bool:
    try:
        return not subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def filled(folder: Path, spare_bytes: int) -> Iterator[None]:
    """Leave hardly any room on a file system for as long as the block takes."""
    path = folder / "filler"
    try:
        with path.open("wb") as file:
            room = os.statvfs(folder)
            step, end = max(0, room.f_bavail * room.f_frsize - spare_bytes), 0
            while step >= STEP_BYTES:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                    end += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
                    os.ftruncate(file.fileno(), end)
                else:
                    step = min(step, max(0, os.statvfs(folder).f_bavail * room.f_frsize - spare_bytes))
        yield
    finally:
        path.unlink(missing_ok=True)
