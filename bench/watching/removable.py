"""A disk that can be taken away and brought back: a file system of its own, else a folder that is renamed."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE_MB = 512
INODES = 400_000


class Removable:
    """A repository's root at ``root``, a new folder; ``kind`` says what is taken away."""

    def __init__(self, root: Path, size_mb: int = SIZE_MB) -> None:
        self.root = root
        self._aside = root.with_name(root.name + " elsewhere")
        self._image = root.with_name(root.name + ".img")
        self._device = ""
        root.mkdir()
        self.kind = self._made(size_mb)

    def leave(self) -> None:
        """Take it away, whoever uses it still."""
        if self._device:
            _run("umount", "--lazy", str(self.root))
        else:
            self.root.rename(self._aside)

    def come_back(self) -> None:
        """Bring it back."""
        if self._device:
            _run("mount", self._device, str(self.root))
        else:
            self._aside.rename(self.root)

    @contextmanager
    def elsewhere(self) -> Iterator[Path]:
        """Reach what is away by another name."""
        if not self._device:
            yield self._aside
            return
        self._aside.mkdir(exist_ok=True)
        _run("mount", self._device, str(self._aside))
        try:
            yield self._aside
        finally:
            _run("umount", "--lazy", str(self._aside))

    def close(self) -> None:
        """Give it back to the system, with all that is on it."""
        if self._device:
            for folder in (self._aside, self.root):
                if os.path.ismount(folder):
                    _run("umount", "--lazy", str(folder))
            with suppress(RuntimeError):
                _run("losetup", "--detach", self._device)
            self._image.unlink()

    def _made(self, size_mb: int) -> str:
        if os.geteuid() != 0:
            return "folder (not root)"
        with self._image.open("wb") as file:
            file.truncate(size_mb << 20)
        try:
            _run("mkfs.ext4", "-q", "-m", "0", "-N", str(INODES), str(self._image))
            device = _run("losetup", "--find", "--show", str(self._image)).strip()
        except (RuntimeError, FileNotFoundError):
            self._image.unlink()
            return "folder (no loop devices)"
        try:
            _run("mount", device, str(self.root))
        except RuntimeError:
            _run("losetup", "--detach", device)
            self._image.unlink()
            return "folder (mount is not allowed)"
        self._device = device
        return "ext4"


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
